// Messages as they pass: copies, thinned by the broker, of which the newest are kept.

const LINES = 500;

const tail = {
  wanted: { kind: 'group', match: '*', namespace: '' },
  isPaused: false,
  held: [],
  stop: null,
  failures: 0,

  /** Goes to the panel and watches. */
  begin(kind, match, space = '') {
    this.wanted = { kind, match, namespace: broker.isDivided ? space : '' };
    location.hash = '#/tail';
    // The panel is there when the address has changed; if it is there already, it starts anew.
    this.isAsked = true;
    if (this.list?.isConnected) this.show(byID('panel'));
  },

  show(place) {
    this.end();
    const { wanted } = this;
    const kinds = ['group', 'channel']
      .map(kind => element('option', { value: kind, selected: kind === wanted.kind }, `${kind}s`));
    this.kind = element('select', { 'aria-label': 'Groups or channels', id: 'tail-kind' }, ...kinds);
    this.match = field(
      {
        id: 'tail-match', 'aria-label': 'Names to watch; * stands for anything', placeholder: 'Such as chat_*',
        value: wanted.match,
      }
    );
    this.space = namespaceField({ value: wanted.namespace });
    this.space.hidden = !broker.isDivided;
    this.run = element('button', { type: 'submit', class: 'primary', id: 'tail-run' }, 'Watch');
    this.pause = element(
      'button',
      {
        type: 'button', class: 'quiet-button', id: 'tail-pause', 'aria-pressed': 'false', disabled: true,
        click: () => this.toggle(),
      },
      'Pause',
    );
    this.list = element('ol', { id: 'tail', class: 'tail', tabindex: 0, 'aria-label': 'Messages' });
    this.note = element(
      'p', { class: 'sum', role: 'status' }, 'Copies: watching delays nothing and takes nothing away.',
    );
    place.replaceChildren(
      element(
        'form', { class: 'toolbar', submit: event => this.submit(event) },
        this.kind, this.match, this.space, this.run, this.pause,
        element(
          'button', { type: 'button', class: 'quiet-button', id: 'tail-clear', click: () => this.clear() }, 'Clear',
        ),
      ),
      this.list,
      element('div', { class: 'foot' }, this.note),
    );
    if (this.isAsked) this.watch();
    this.isAsked = false;
  },

  submit(event) {
    event.preventDefault();
    if (this.stop) return this.end();
    this.wanted = { kind: this.kind.value, match: this.match.value.trim() || '*', namespace: this.space.value.trim() };
    this.watch();
  },

  async watch() {
    this.stop?.abort();
    const stop = this.stop = new AbortController();
    write(this.run, 'Stop');
    this.pause.disabled = false;
    write(this.note, 'Waiting for the broker …');
    try {
      const response = await open('/api/tail', this.wanted, stop.signal);
      this.failures = 0;
      write(
        this.note,
        `Watching ${this.wanted.kind}s called ${this.wanted.match}. At most 50 messages a second are shown.`,
      );
      await this.read(response.body.pipeThrough(new TextDecoderStream()).getReader());
      throw new Refusal(0, 'The broker ended it.', 'ended');
    } catch (failure) {
      if (stop.signal.aborted || stop !== this.stop) return;
      // What the broker refuses it refuses again; what broke off may come back.
      if (failure.status) return this.end(failure.message);
      this.failures += 1;
      const wait = Math.min(EVERY * 2 ** (this.failures - 1), BACK_OFF);
      write(this.note, `It broke off. Trying again in ${lasting(wait)}.`);
      setTimeout(() => { if (stop === this.stop) this.watch(); }, wait);
    }
  },

  /** Server-sent events: each ends with an empty line. */
  async read(reader) {
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value).split('\n\n');
      rest = events.pop();
      for (const event of events) {
        if (event.startsWith('data: ')) this.add(JSON.parse(event.slice(6)));
      }
    }
  },

  end(why = 'Stopped.') {
    this.stop?.abort();
    this.stop = null;
    this.isPaused = false;
    this.held = [];
    if (!this.list?.isConnected) return;
    write(this.run, 'Watch');
    write(this.pause, 'Pause');
    this.pause.setAttribute('aria-pressed', 'false');
    this.pause.disabled = true;
    write(this.note, why);
  },

  toggle() {
    this.isPaused = !this.isPaused;
    this.pause.setAttribute('aria-pressed', String(this.isPaused));
    if (!this.isPaused) {
      const { held } = this;
      this.held = [];
      for (const message of held) this.append(message);
    }
    write(this.pause, this.isPaused ? 'Go on' : 'Pause');
  },

  clear() {
    this.list.replaceChildren();
    this.held = [];
  },

  add(message) {
    const seen = { ...message, time: new Date() };
    if (!this.isPaused) return this.append(seen);
    this.held.push(seen);
    if (this.held.length > LINES) this.held.shift();
    write(this.pause, `Go on (${count(this.held.length)})`);
  },

  append(message) {
    const { list } = this;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const target = address([`${message.kind}s`, message.namespace, message.name]);
    const body = message.text === undefined
      ? `${bytes(message.bytes)}, not shown`
      : message.text + (message.is_cut ? ' …' : '');
    list.append(element('li', {},
      element('time', {}, message.time.toTimeString().slice(0, 8)),
      element('a', { href: target }, this.space.hidden ? message.name : `${message.namespace}/${message.name}`),
      element('code', {}, body),
      message.skipped ? element('span', { class: 'skipped' }, `${count(message.skipped)} before it not shown`) : null));
    while (list.children.length > LINES) list.firstElementChild.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  },
};
