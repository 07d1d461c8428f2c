"""scripts/soak: the command line."""
import argparse
import asyncio
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback

import programs
from chaos import scenarios
from chaos.report import Report, Skipped
from chaos.size import FULL, SHORT
from chaos.stage import Stage


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Breaks real processes and counts every message."
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="; ".join(
        f"{name}: {work.__doc__.splitlines()[0]}".replace("%", "%%") for name, work in scenarios.ALL.items()
    ))
    parser.add_argument("--minutes", type=float, help="all scenarios mixed for so long; a whole number of scenarios")
    parser.add_argument("--seed", type=int, help="the same choices again")
    parser.add_argument("--short", action="store_true", help="the size of the tests: seconds each")
    parser.add_argument("--repeat", type=int, default=1, help="each scenario so many times")
    parser.add_argument("--json", action="store_true", help="one JSON object for each scenario")
    parser.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if wrong := sorted(set(options.scenarios) - set(scenarios.ALL)):
        parser.error(f"unknown: {', '.join(wrong)}; known: {', '.join(scenarios.ALL)}")
    if not options.scenarios and options.minutes is None:
        parser.error("name scenarios, or --minutes for all of them mixed")
    options.seed = random.randrange(1_000_000) if options.seed is None else options.seed
    return options


async def run(name, binaries, seed, size):
    """One scenario in a folder and with programs of its own; the folder is kept when something was wrong."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
    stage = Stage(programs.House(binaries, folder), random.Random(f"{name} {seed}"))
    report, begun = Report(name, seed), time.monotonic()
    try:
        await scenarios.ALL[name](stage, size)
    except Skipped as skipped:
        report.skipped = str(skipped)
    except Exception as failure:
        stage.ledger.violate(f"{type(failure).__name__}: {failure}")
        traceback.print_exc()
    finally:
        await stage.abandon()
    report.seconds, report.counts = time.monotonic() - begun, dict(stage.ledger.counts)
    report.facts, report.violations = stage.facts, stage.ledger.violations
    if report.is_good:
        shutil.rmtree(folder)
    else:
        report.folder = str(folder)
    return report


def show(report, options):
    if options.json:
        print(json.dumps(report.json(), default=str), flush=True)
        return
    print(report.line(), flush=True)
    for violation in report.violations:
        print(f"    {violation}", flush=True)
    if not report.is_good:
        size = " --short" if options.short else ""
        what = f"--minutes {options.minutes:g}" if report.scenario == "mixed" else report.scenario
        again = f"scripts/soak{size} --seed {report.seed} {what}"
        print(f"    logs: {report.folder}; again: {again}", flush=True)


async def main():
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    size = SHORT if options.short else FULL
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT)
    print(f"scripts/soak: seed {options.seed}", file=sys.stderr, flush=True)
    bad = 0
    if options.minutes is not None:
        from chaos import mixed
        async for report in mixed.run(options, size, run):
            show(report, options)
            bad += not report.is_good
    else:
        for turn in range(options.repeat):
            for name in options.scenarios:
                report = await run(name, options.bin, options.seed + turn, size)
                show(report, options)
                bad += not report.is_good
    return 1 if bad else 0


try:
    sys.exit(asyncio.run(main()))
except KeyboardInterrupt:
    print("scripts/soak: stopped", file=sys.stderr)
    sys.exit(130)
