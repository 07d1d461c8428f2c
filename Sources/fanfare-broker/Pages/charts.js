// Six charts of the last five minutes, drawn as SVG so that the style sheet colours them. One cursor for all.

const TOP = 18;
const BOTTOM = 16;
// Longer without a number is a hole in the line: the tab was hidden, or the broker away.
const HOLE = 5_000;
const LAG_SAMPLES = 10;
// Minutes on the axis: no more than there is something to show for.
const SPANS = [1, 2, 5];

const sumOf = map => Object.values(map ?? {}).reduce((sum, value) => sum + value, 0);

/** How much a counter grows in a second between two samples. */
const growth = read => (now, before) => {
  if (!before || now.time - before.time > HOLE) return null;
  const [new_, old] = [read(now.status), read(before.status)];
  const passed = (now.status.uptime_milliseconds - before.status.uptime_milliseconds) / 1000;
  return isNumber(new_) && isNumber(old) && passed > 0 ? Math.max(0, new_ - old) / passed : null;
};
const gauge = read => now => read(now.status) ?? null;

/** The 99th percentile, in seconds, of what a histogram took up in the last seconds; null when that is nothing. */
const percentile = key => (now, before, early) => {
  const [last, first] = [now.status[key], early?.status[key]];
  if (!last?.counts || !first?.counts) return null;
  const counts = last.counts.map((value, index) => Math.max(0, value - (first.counts[index] ?? 0)));
  const total = counts.reduce((sum, value) => sum + value, 0);
  if (!total) return null;
  let left = 0.99 * total;
  for (let index = 0; index < counts.length; index += 1) {
    if (left <= counts[index]) {
      const low = index ? last.bounds[index - 1] : 0;
      const high = last.bounds[index] ?? low;
      return low + (high - low) * (left / counts[index]);
    }
    left -= counts[index];
  }
  return last.bounds.at(-1);
};

const CHARTS = [
  {
    id: 'messages', title: 'Messages', unit: '/s', format: rate, least: 1, isStacked: true,
    series: () => [
      { label: 'to groups', color: 1, read: growth(status => status.group_sends) },
      { label: 'to channels', color: 2, read: growth(status => status.sends) },
    ],
  },
  {
    id: 'deliveries', title: 'Deliveries', unit: '/s', format: rate, least: 1, isStacked: true,
    series: status => [
      status.fan_out_members
        ? { label: 'to members', color: 1, read: growth(status => status.fan_out_members?.sum) }
        : { label: 'group frames', color: 1, read: growth(status => status.group_deliver_frames) },
      { label: 'to channels', color: 2, read: growth(status => status.delivers) },
      { label: 'from queues', color: 3, read: growth(status => status.hand_outs) },
    ],
  },
  {
    id: 'drops', title: 'Drops', unit: '/s', format: rate, least: 1, isStacked: true,
    none: 'None since the start.',
    series: status => Object.keys(status.drops ?? {}).filter(name => status.drops[name]).sort().map((name, index) => (
      { label: reason(name), color: [4, 3, 5, 6, 2, 1, 7, 8][index % 8], read: growth(status => status.drops?.[name]) }
    )),
  },
  {
    id: 'connections', title: 'Connections', unit: '', format: count, least: 4, isStacked: true,
    series: status => [
      ...(status.connections_by_role
        ? Object.keys(status.connections_by_role)
          .sort((a, b) => ROLES.indexOf(a) - ROLES.indexOf(b))
          .filter(role => status.connections_by_role[role] || role === 'worker')
          .map(
            (role, index) => (
              { label: role, color: [1, 2, 5, 3][index % 4], read: gauge(status => status.connections_by_role?.[role]) }
            )
          )
        : [{ label: 'processes', color: 1, read: gauge(status => status.sessions) }]),
      ...(status.strangers ? [{ label: 'no hello yet', color: 4, read: gauge(status => status.strangers) }] : []),
    ],
  },
  {
    id: 'lag', title: 'Lag', unit: 'p99', format: seconds, least: 0.001,
    none: 'Not measured.',
    series: status => [
      ...(status.loop_lag_seconds ? [{ label: 'event loop', color: 1, read: percentile('loop_lag_seconds') }] : []),
      ...(status.round_trip_seconds ? [{ label: 'round trip', color: 5, read: percentile('round_trip_seconds') }] : []),
    ],
  },
  {
    id: 'memory', title: 'Memory', unit: '', format: bytes, least: 1 << 20, isBinary: true,
    series: () => [
      { label: 'in use', color: 1, read: gauge(status => status.memory_bytes) },
      { label: 'waiting', color: 3, read: gauge(status => status.queued_bytes) },
    ],
  },
];
const ROLES = ['worker', 'publish', 'inspect', 'admin'];

/** The smallest round number that is not less. */
function roundUp(value, isBinary) {
  const base = isBinary ? 2 ** (10 * Math.floor(Math.log2(value) / 10)) : 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1024].map(step => step * base).find(step => step >= value);
}

class Chart {
  constructor(spec, cursor) {
    Object.assign(this, { spec, cursor, width: 300, height: 132 });
    this.value = element('output', { class: 'value' });
    this.moment = element('span', { class: 'moment' }, spec.unit);
    this.legend = element('ul', { class: 'legend' });
    this.picture = drawing('svg', { 'aria-hidden': 'true' });
    this.plot = element(
      'div',
      {
        class: 'plot', tabindex: 0, role: 'img',
        'aria-label': `${spec.title}, the last five minutes. Arrow keys move along.`,
      },
      this.picture,
    );
    this.element = element('figure', { class: 'card chart', id: `chart-${spec.id}` },
      element('figcaption', {}, element('h2', {}, spec.title), this.value, this.moment), this.plot, this.legend);
    this.plot.addEventListener('pointermove', event => cursor.set(this.timeAt(event.offsetX)));
    this.plot.addEventListener('pointerleave', () => cursor.set(null));
    this.plot.addEventListener('blur', () => cursor.set(null));
    this.plot.addEventListener('keydown', event => this.step(event));
    new ResizeObserver(([entry]) => {
      this.width = Math.max(100, Math.round(entry.contentRect.width));
      this.height = Math.max(60, Math.round(entry.contentRect.height));
      this.draw();
    }).observe(this.plot);
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by && event.key !== 'Escape') return;
    event.preventDefault();
    if (!by) return this.cursor.set(null);
    const times = broker.samples.map(sample => sample.time);
    const at = this.cursor.time ? times.findIndex(time => time >= this.cursor.time) : times.length - 1;
    this.cursor.set(times[Math.max(0, Math.min(times.length - 1, at + by))] ?? null);
  }

  timeAt(x) {
    const wanted = this.end - this.span * (1 - x / this.width);
    const times = broker.samples.map(sample => sample.time);
    return times.reduce(
      (best, time) => Math.abs(time - wanted) < Math.abs(best - wanted) ? time : best, times[0] ?? null,
    );
  }

  x(time) { return this.width * (1 - (this.end - time) / this.span); }
  y(value) { return this.height - BOTTOM - (this.height - TOP - BOTTOM) * Math.min(1, value / this.most); }

  draw() {
    const { samples } = broker;
    if (!samples.length) return;
    const { spec } = this;
    this.end = samples.at(-1).time;
    this.span = 60_000 * (SPANS.find(minutes => this.end - samples[0].time <= minutes * 60_000) ?? SPANS.at(-1));
    const series = spec.series(samples.at(-1).status);
    for (const one of series) one.values = samples
      .map((sample, index) => one.read(sample, samples[index - 1], samples[Math.max(0, index - LAG_SAMPLES)]));
    this.stack(series, samples.length);
    const peak = Math.max(spec.least, ...series.flatMap(one => one.tops.filter(isNumber)));
    this.most = roundUp(peak * 1.05, spec.isBinary);
    const at = this.cursor.time === null ? -1 : samples.findIndex(sample => sample.time === this.cursor.time);
    this.picture.setAttribute('viewBox', `0 0 ${this.width} ${this.height}`);
    this.picture.replaceChildren(
      ...(series.length ? this.grid() : [this.nothing()]),
      ...series.toReversed().flatMap(one => this.line(one, samples)), ...this.mark(series, samples, at),
    );
    this.tell(series, samples, at);
  }

  /** Where each line runs: on top of those before it, or by itself. */
  stack(series, length) {
    const below = new Array(length).fill(0);
    for (const one of series) {
      one.floors = [...below];
      one.tops = one.values.map((value, index) => {
        if (!this.spec.isStacked || value === null) return value;
        below[index] += value;
        return below[index];
      });
      if (!this.spec.isStacked) one.floors.fill(0);
    }
  }

  grid() {
    const lines = [0, 0.5, 1].flatMap(part => {
      const y = this.y(this.most * part);
      const label = part ? drawing('text', { x: 0, y: y - 4 }, this.spec.format(this.most * part)) : null;
      return [
        drawing('line', { class: part ? 'rule' : 'rule base', x1: 0, x2: this.width, y1: y, y2: y }),
        ...(label ? [label] : []),
      ];
    });
    const marks = this.span <= 60_000 ? [15, 30, 45] : this.span <= 120_000 ? [30, 60, 90] : [60, 120, 180, 240];
    const ticks = marks.filter((_, index) => this.width > 240 || index % 2 === 1).map(mark => (
      drawing(
        'text', { x: this.x(this.end - 1000 * mark), y: this.height - 3, class: 'tick' },
        this.span > 120_000 ? `−${mark / 60} min` : `−${mark} s`,
      )));
    return [...lines, ...ticks];
  }

  nothing() {
    return drawing('text', { x: this.width / 2, y: this.height / 2, class: 'tick' }, this.spec.none ?? '');
  }

  line(one, samples) {
    let [path, area, run] = ['', '', []];
    const flush = () => {
      if (!run.length) return;
      const points = run.map(
        index => `${this.x(samples[index].time).toFixed(1)} ${this.y(one.tops[index]).toFixed(1)}`
      );
      const floor = run.toReversed()
        .map(index => `${this.x(samples[index].time).toFixed(1)} ${this.y(one.floors[index]).toFixed(1)}`);
      path += `M${points.join('L')}`;
      area += `M${points.join('L')}L${floor.join('L')}Z`;
      run = [];
    };
    samples.forEach((sample, index) => {
      if (sample.time < this.end - this.span) return;
      if (one.tops[index] === null || (run.length && sample.time - samples[run.at(-1)].time > HOLE)) flush();
      if (one.tops[index] !== null) run.push(index);
    });
    flush();
    return [
      drawing('path', { class: `area c${one.color}`, d: area }),
      drawing('path', { class: `line c${one.color}`, d: path }),
    ];
  }

  mark(series, samples, at) {
    if (at < 0 || !series.length) return [];
    const x = this.x(samples[at].time);
    const dots = series.filter(one => one.tops[at] !== null).map(
      one => drawing('circle', { class: `c${one.color}`, cx: x, cy: this.y(one.tops[at]), r: 3 })
    );
    return [drawing('line', { class: 'cursor', x1: x, x2: x, y1: TOP - 6, y2: this.height - BOTTOM }), ...dots];
  }

  /** The numbers at the cursor, or now. */
  tell(series, samples, at) {
    const { spec } = this;
    const index = at < 0 ? samples.length - 1 : at;
    const known = series.map(one => one.values[index]).filter(isNumber);
    const headline = spec.isStacked ? known.reduce((sum, value) => sum + value, 0) : series[0]?.values[index];
    write(
      this.value,
      known.length || !spec.isStacked ? spec.format(headline) : spec.id === 'drops' && !series.length ? '0' : '–',
    );
    write(this.moment, at < 0 ? spec.unit : `−${lasting(Math.round((this.end - samples[at].time) / 1000) * 1000)}`);
    const entries = series.map(
      one => element(
        'li', {}, element('i', { class: `c${one.color}` }), `${one.label} `,
        element('b', {}, spec.format(one.values[index])),
      )
    );
    this.legend.replaceChildren(...entries);
  }
}

/** All charts, with the moment somebody points at. */
function makeCharts(place) {
  const cursor = {
    time: null,
    set(time) {
      if (time === this.time) return;
      this.time = time;
      for (const chart of charts) chart.draw();
    },
  };
  const charts = CHARTS.map(spec => new Chart(spec, cursor));
  place.append(...charts.map(chart => chart.element));
  broker.listeners.push(state => {
    place.classList.toggle('stale', state === 'lost');
    if (state === 'live') for (const chart of charts) chart.draw();
  });
}
