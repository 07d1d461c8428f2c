# -*- coding: utf-8 -*-
"""What scripts/autobahn asks of the Autobahn test suite. Python 2.7, run in the suite's own environment.

    suite.py configure URL PATTERNS FOLDER   prints the configuration of wstest's fuzzing client
    suite.py report CONFIGURATION            prints what the run of that configuration came to; exits with 1 unless
                                             every case of it was run and passed

PATTERNS are those of the suite, separated by commas: "*", "1.*,2.1". FOLDER is where wstest writes its reports.
"""
from __future__ import unicode_literals

import collections
import io
import json
import os
import sys

AGENT = "fanfare"    # the name of the server in the reports
ALL_CASES = 517      # of the pinned suite: so "*" cannot quietly come to mean fewer

PASSED = {
    "behavior": ("OK", "NON-STRICT", "INFORMATIONAL"),
    "behaviorClose": ("OK", "INFORMATIONAL"),
}
# In the order they are shown; an outcome that is not here comes after them and counts as failed.
OUTCOMES = {
    "behavior": ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"),
    "behaviorClose": ("OK", "INFORMATIONAL", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "FAILED"),
}


class UsageError(Exception):
    """What the person wrote cannot be done."""


def chosen_cases(patterns):
    """The ids of the cases that the patterns name, in the order of the suite."""
    from autobahntestsuite import case
    from autobahntestsuite.caseset import CaseSet

    suite = CaseSet("WebSocket", "Case", case.Cases, case.CaseCategories, case.CaseSubCategories)
    if len(suite.Cases) != ALL_CASES:
        raise UsageError("the suite has {} cases, not {}; it is not the pinned one".format(len(suite.Cases), ALL_CASES))
    for pattern in patterns:
        if not set(suite.resolveCasePatternList([pattern])) & set(suite.CasesById):
            raise UsageError('no case is called "{}"; there are 1.1.1 to 13.7.18, and 9.* is all of a chapter'
                             .format(pattern))
    return suite.parseSpecCases({"cases": patterns})


def configure(url, patterns, folder):
    cases = chosen_cases(patterns.split(","))
    return json.dumps({
        "outdir": folder,
        "servers": [{"agent": AGENT, "url": url}],
        "options": {"failByDrop": False},
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }, indent=2)


def read_json(path):
    with io.open(path, encoding="utf-8") as file:
        return json.load(file)


def counts(name, key, cases):
    """One line: how many cases came to each outcome."""
    found = collections.Counter(case[key] for case in cases)
    outcomes = list(OUTCOMES[key]) + sorted(set(found) - set(OUTCOMES[key]))
    return "{:<10}".format(name) + "   ".join("{} {}".format(found[outcome], outcome) for outcome in outcomes)


def has_passed(case):
    return all(case[key] in PASSED[key] for key in PASSED)


def explained(id, case, folder):
    """What a failed case does, and what went wrong with it."""
    detail = read_json(os.path.join(folder, case["reportfile"]))
    page = os.path.splitext(case["reportfile"])[0] + ".html"
    yield "{}  {}, close {}".format(id, case["behavior"], case["behaviorClose"])
    for text in (detail["description"], detail["result"], detail["resultClose"]):
        yield "    " + " ".join(text.replace("<br/>", " ").split())
    yield "    " + os.path.join(folder, page)


def report(path):
    """Lines to print, and whether every case was run and passed."""
    configuration = read_json(path)
    folder = configuration["outdir"]
    try:
        cases = read_json(os.path.join(folder, "index.json")).get(AGENT, {})
    except IOError as error:
        raise UsageError("wstest wrote no report: {}".format(error))
    expected = configuration["cases"]
    lost = [id for id in expected if id not in cases]
    failed = [id for id in expected if id in cases and not has_passed(cases[id])]
    lines = []
    for id in failed:
        lines.extend(explained(id, cases[id], folder))
    lenient = [id for id in expected if id in cases and cases[id]["behavior"] == "NON-STRICT"]
    if lenient:
        lines.append("non-strict: " + " ".join(lenient))
    if lost:
        lines.append("not run: " + " ".join(lost))
    lines.append("")
    lines.append("{} of {} cases run, {} not passed".format(len(expected) - len(lost), len(expected), len(failed)))
    lines.append(counts("behaviour", "behavior", cases.values()))
    lines.append(counts("close", "behaviorClose", cases.values()))
    return lines, not lost and not failed


def main(arguments):
    output = io.open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
    arguments = [argument.decode("utf-8") for argument in arguments]
    try:
        if len(arguments) == 4 and arguments[0] == "configure":
            output.write(configure(*arguments[1:]) + "\n")
            return 0
        if len(arguments) == 2 and arguments[0] == "report":
            lines, good = report(arguments[1])
            output.write("\n".join(lines) + "\n")
            return 0 if good else 1
        raise UsageError("write suite.py configure URL PATTERNS FOLDER, or suite.py report CONFIGURATION")
    except UsageError as error:
        sys.stderr.write("scripts/autobahn: {}\n".format(error).encode("utf-8"))
        return 64 if arguments[:1] != ["report"] else 1
    finally:
        output.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
