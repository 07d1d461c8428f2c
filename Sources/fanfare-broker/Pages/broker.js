// What the page asks the broker: every second how it is, and what else somebody looks at.

const TOKEN = 'fanfare-token';
const HISTORY = 'fanfare-history';
const WINDOW = 5 * 60_000;
const EVERY = 1_000;
const PATIENCE = 10_000;
const BACK_OFF = 15_000;

/** An answer that is none: what the broker said, or that it said nothing. */
class Refusal extends Error {
  constructor(status, text, code) {
    super(text);
    Object.assign(this, { status, code });
  }
}

/** Asks for a path. Throws a Refusal, with status 0 when nothing answered. */
async function open(path, parameters = {}, signal = null) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '')
  );
  const token = sessionStorage.getItem(TOKEN);
  let response;
  try {
    response = await fetch(`${path}?${query}`, {
      headers: token ? { authorization: `Bearer ${token}` } : {}, credentials: 'omit', cache: 'no-store', signal,
    });
  } catch (failure) {
    if (failure.name === 'AbortError') throw failure;
    throw new Refusal(0, 'The broker does not answer.', 'silent');
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refusal(response.status, said.error ?? `The broker answered ${response.status}.`, said.code);
}

async function ask(path, parameters = {}) {
  const response = await open(path, parameters, AbortSignal.timeout(PATIENCE)).catch(failure => {
    throw failure instanceof Refusal ? failure : new Refusal(0, 'The broker does not answer in time.', 'silent');
  });
  return response.json();
}

const inspect = (subject, parameters) => ask(`/api/inspect/${subject}`, parameters);

/** The last five minutes of the broker's numbers, and whoever wants to know of the next. */
const broker = {
  samples: [],
  listeners: [],
  failures: 0,
  state: 'connecting',
  timer: null,
  get latest() { return this.samples.at(-1)?.status ?? null; },
  /** Whether names need their namespaces beside them. */
  get isDivided() { return (this.latest?.namespaces ?? 1) > 1; },

  start() {
    this.restore();
    document.addEventListener('visibilitychange', () => this.poll());
    window.addEventListener('pagehide', () => this.keep());
    this.poll();
  },

  tell(state, why = null) {
    this.state = state;
    for (const listener of this.listeners) listener(state, why);
  },

  async poll() {
    clearTimeout(this.timer);
    if (document.hidden) return this.tell('paused');
    const turn = this.turn = {};
    try {
      const status = await ask('/api/status');
      if (turn !== this.turn) return;
      this.failures = 0;
      this.add(status);
      this.tell('live');
      this.timer = setTimeout(() => this.poll(), EVERY);
    } catch (failure) {
      if (turn !== this.turn) return;
      this.failures += 1;
      const wait = Math.min(EVERY * 2 ** (this.failures - 1), BACK_OFF);
      const state = { 401: 'locked', 403: 'forbidden', 429: 'locked' }[failure.status] ?? 'lost';
      this.tell(state, failure.message);
      // Somebody is asked for a token then; asking again without one would only count as refused.
      if (state !== 'locked') this.timer = setTimeout(() => this.poll(), wait);
    }
  },

  add(status) {
    const last = this.samples.at(-1);
    if (
      last && (last.status.epoch !== status.epoch || last.status.uptime_milliseconds > status.uptime_milliseconds)
    ) this.samples = [];
    const now = Date.now();
    this.samples.push({ time: now, status });
    while (this.samples[0].time < now - WINDOW - 15_000) this.samples.shift();
  },

  /** A reload goes on with what was seen before it. */
  keep() {
    try {
      sessionStorage.setItem(HISTORY, JSON.stringify(this.samples.slice(-400)));
    } catch {
      sessionStorage.removeItem(HISTORY);
    }
  },

  restore() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(HISTORY) ?? '[]');
      this.samples = kept.filter(
        sample => isNumber(sample.time)
          && sample.status
          && sample.time > Date.now() - WINDOW
          && sample.time <= Date.now()
      );
    } catch {
      this.samples = [];
    }
    sessionStorage.removeItem(HISTORY);
  },
};
