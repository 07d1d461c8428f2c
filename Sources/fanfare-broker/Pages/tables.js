// Listings. Search, order and pages are the broker's work; the page shows what it answers.

const ROWS = 50;
const REFRESH = 2_000;

const name = (key, label, link = null) => ({ key, label, show: plain, kind: 'name', link });
const text = (key, label, show = plain) => ({ key, label, show, kind: 'text' });
const number = (key, label, show = count) => ({ key, label, show, kind: 'number' });
// Wraps in a table, and has two columns on a telephone.
const long = column => ({ ...column, isLong: true });
// Shown where there is room for it.
const wide = column => ({ ...column, isWide: true });

const namespace = { ...text('namespace', 'Namespace'), isNamespace: true };

const LISTINGS = {
  groups: {
    title: 'Groups', one: 'group', sort: 'members', descending: true, total: status => status.groups,
    hint: 'chat_*', key: row => `${row.namespace} ${row.group}`,
    none: 'There is no group yet. One begins with its first member.',
    columns: [
      name('group', 'Group', row => ['groups', row.namespace, row.group]), namespace, number('members', 'Members'),
      number('owners', 'Workers'), number('messages', 'Messages'), number('rate', 'Messages /s', rate),
      number('drops', 'Drops'), number('age_milliseconds', 'Age', lasting),
    ],
  },
  channels: {
    title: 'Channels', one: 'channel', sort: 'depth', descending: true, total: status => status.channels,
    hint: 'jobs.*', key: row => `${row.namespace} ${row.channel}`,
    none: 'There is no channel yet. One begins with its first message, reader or group.',
    columns: [
      name('channel', 'Channel', row => ['channels', row.namespace, row.channel]), namespace, text('worker', 'Worker'),
      {
        ...number('depth', 'Waiting'),
        show: (value, row) => isNumber(row.capacity) ? `${count(value)} of ${count(row.capacity)}` : count(value),
      },
      wide(number('depth_high', 'Most')), wide(number('bytes', 'Bytes', bytes)), number(
        'oldest_milliseconds', 'Oldest', lasting,
      ),
      wide(number('readers', 'Readers')), wide(number('groups', 'Groups')), number('messages', 'Messages'),
      number('rate', 'Messages /s', rate), number('drops', 'Drops'),
    ],
  },
  workers: {
    title: 'Workers', one: 'process', many: 'processes', subject: 'sessions', sort: 'name', descending: false,
    total: status => status.sessions,
    hint: 'worker-*', key: row => row.session,
    none: 'No process is connected.',
    columns: [
      name('name', 'Name', row => ['workers', row.namespace, row.name, row.session]), namespace, text('role', 'Role'),
      wide(text('client', 'Program')), wide(text('remote', 'From')), number('channels', 'Channels'), wide(
        number('memberships', 'Memberships')
      ),
      number('rate_in', 'In /s', rate), number('rate_out', 'Out /s', rate),
      number('lag_milliseconds', 'Lag', lasting), number('link_bytes', 'Unread', bytes), number('drops', 'Drops'),
      wide({ ...text('link', 'Link'), show: value => isNumber(value) ? `away ${lasting(value)}` : plain(value) }),
      wide(number('age_milliseconds', 'Age', lasting)),
    ],
  },
  drops: {
    title: 'Drops', one: 'place', many: 'places', sort: 'age_milliseconds', descending: false,
    total: status => sumOf(status.drops),
    hint: 'chat_*', key: row => [row.namespace, row.kind, row.name, row.worker, row.reason].join(' '),
    none: 'Nothing was dropped. Every message found a reader, or still waits for one.',
    columns: [
      name('name', 'Name', row => [row.kind === 'group' ? 'groups' : 'channels', row.namespace, row.name]), namespace,
      text('kind', 'Kind'), text('reason', 'Reason', reason), text('worker', 'Worker'),
      number('count', 'Messages'),
      number('age_milliseconds', 'Last', ago),
    ],
  },
  closed: {
    title: 'Closed', one: 'connection', many: 'connections', sort: 'age_milliseconds', descending: false,
    total: status => sumOf(status.closed),
    hint: 'worker-*', key: row => [
      row.session, row.name, row.remote, row.reason, row.lived_milliseconds, row.frames_in, row.bytes_in,
    ].join(' '),
    none: 'No connection has ended since the broker started.',
    columns: [
      name('name', 'Name'), namespace, text('reason', 'Why', reason), long(text('detail', 'In words')),
      wide(text('client', 'Program')),
      long(text('remote', 'From')), number(
        'lived_milliseconds', 'Lived', lasting,
      ), wide(number('messages_in', 'In')), wide(number('messages_out', 'Out')),
      number('drops', 'Drops'), number('age_milliseconds', 'Ended', ago),
    ],
  },
  members: {
    title: 'Members', one: 'member', subject: 'group', sort: 'channel', descending: false,
    hint: 'ws.*', key: row => `${row.namespace} ${row.channel}`,
    none: 'The group has no members now.',
    columns: [
      name('channel', 'Channel', row => ['channels', row.namespace, row.channel]), text('worker', 'Worker'),
      long({ ...text('remote', 'From'), isUnsorted: true }), number('age_milliseconds', 'For', lasting),
    ],
  },
};

const address = parts => `#/${parts.map(encodeURIComponent).join('/')}`;

/** One listing on the screen: toolbar, table, pages. Lives until `close`. */
class Listing {
  constructor(id, place, fixed = {}) {
    const listing = LISTINGS[id];
    Object.assign(
      this,
      { listing, fixed, sort: listing.sort, descending: listing.descending, cursors: [null], match: '', space: '' },
    );
    this.id = `${fixed.name === undefined ? 'table' : 'members'}`;
    this.rows = new Map();
    this.build(place);
    this.watch = state => { if (state === 'live') this.showNamespaces(); };
    broker.listeners.push(this.watch);
    this.showNamespaces();
    this.refresh();
  }

  close() {
    clearTimeout(this.timer);
    this.turn = null;
    broker.listeners.splice(broker.listeners.indexOf(this.watch), 1);
  }

  // What there is to see.

  build(place) {
    const { listing, id } = this;
    this.search = field({
      id: `${id}-search`, placeholder: `Search, such as ${listing.hint}`,
      'aria-label': `Search ${listing.title.toLowerCase()} by name; * stands for anything`,
      input: () => this.later(),
    });
    this.space_ = namespaceField({ input: () => this.later() });
    this.order = element(
      'select', { 'aria-label': 'Order by', class: 'order', change: () => this.sortBy(this.order.value) },
    );
    this.head = element('tr');
    this.body = element('tbody');
    this.message = element('p', { class: 'empty', hidden: true });
    this.sum = element('p', { class: 'sum', role: 'status' });
    this.back = element('button', { type: 'button', class: 'quiet-button', click: () => this.page(-1) }, 'Back');
    this.next = element('button', { type: 'button', class: 'quiet-button', click: () => this.page(1) }, 'Next');
    place.replaceChildren(
      element('div', { class: 'toolbar' }, this.search, this.space_, this.order),
      element('div', { class: 'scroll' }, element('table', { id },
        element('caption', {}, listing.title), element('thead', {}, this.head), this.body)),
      this.message,
      element('div', { class: 'foot' }, this.sum, this.back, this.next),
    );
    this.setColumns(listing.columns.filter(column => !column.isNamespace));
  }

  showNamespaces() {
    this.isDivided = broker.isDivided && this.fixed.namespace === undefined;
    this.space_.hidden = !this.isDivided;
  }

  /** Columns this broker knows; all of them while there is no row to tell. */
  columnsOf(rows) {
    return this.listing.columns.filter(column => (
      column.isNamespace ? this.isDivided : !rows.length || rows.some(row => column.key in row)
    ));
  }

  setColumns(columns) {
    const signature = columns.map(column => column.key).join();
    if (signature !== this.signature) {
      this.signature = signature;
      this.columns = columns;
      this.rows.clear();
      this.body.replaceChildren();
      this.head.replaceChildren(...columns.map(column => element(
        'th', { scope: 'col', class: this.style(column), 'data-key': column.key },
        column.isUnsorted
          ? element('span', {}, column.label)
          : element('button', { type: 'button', click: () => this.sortBy(column.key) }, column.label),
      )));
      this.order.replaceChildren(
        ...columns.filter(column => !column.isUnsorted).map(
          column => element('option', { value: column.key }, `by ${column.label.toLowerCase()}`)
        )
      );
    }
    for (const cell of this.head.children) {
      const direction = this.descending ? 'descending' : 'ascending';
      if (cell.dataset.key === this.sort) cell.setAttribute('aria-sort', direction);
      else cell.removeAttribute('aria-sort');
    }
    this.order.value = this.sort;
  }

  style(column) { return [column.kind, column.isLong && 'long', column.isWide && 'wide'].filter(Boolean).join(' '); }

  // What somebody does.

  later() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => {
      const typed = this.search.value.trim();
      // A word finds names that hold it; a pattern means what it says.
      this.match = !typed || /[*?[]/.test(typed) ? typed : `*${typed}*`;
      this.space = this.space_.value.trim();
      this.cursors = [null];
      this.refresh();
    }, 200);
  }

  sortBy(key) {
    const isNumeric = this.columns.find(column => column.key === key)?.kind === 'number';
    this.descending = key === this.sort ? !this.descending : isNumeric;
    this.sort = key;
    this.cursors = [null];
    this.refresh();
  }

  page(by) {
    if (by < 0) this.cursors.pop();
    else if (this.nextCursor) this.cursors.push(this.nextCursor);
    this.refresh();
  }

  // What the broker answers.

  async refresh() {
    clearTimeout(this.timer);
    // Without an answer to how it is, the broker is not asked for more.
    if (broker.state !== 'live') {
      this.timer = setTimeout(() => this.refresh(), EVERY / 4);
      return;
    }
    const turn = this.turn = {};
    try {
      const answer = await inspect(this.listing.subject ?? this.listing.title.toLowerCase(), {
        match: this.match, namespace: this.space, sort: this.sort, descending: this.descending, limit: ROWS,
        cursor: this.cursors.at(-1), ...this.fixed,
      });
      if (turn === this.turn) this.show(answer);
    } catch (failure) {
      if (!(failure instanceof Refusal)) console.error(failure);
      else if (turn === this.turn) this.fail(failure);
    }
    if (turn === this.turn) this.timer = setTimeout(() => this.refresh(), REFRESH);
  }

  fail(failure) {
    // What was seen stays while the broker is away; the header says so.
    if (!failure.status || failure.status === 401) return;
    this.body.replaceChildren();
    this.rows.clear();
    const text = failure.status === 404
      && this.listing.subject !== 'group'
      ? 'This broker does not list these.'
      : failure.message;
    this.say(
      failure.status === 404 && this.listing.subject === 'group' ? 'The group has no members any more.' : text,
      failure.status !== 404,
    );
    write(this.sum, '');
    this.back.hidden = this.next.hidden = true;
  }

  say(text, isError = false) {
    this.message.hidden = !text;
    this.message.classList.toggle('bad', isError);
    write(this.message, text ?? '');
  }

  show(answer) {
    const { rows } = answer;
    if (!rows.length && this.cursors.length > 1) {
      this.cursors = [null];
      return this.refresh();
    }
    this.setColumns(this.columnsOf(rows));
    this.fill(rows);
    this.nextCursor = answer.cursor ?? null;
    this.back.hidden = this.cursors.length < 2;
    this.next.hidden = !this.nextCursor;
    const place = this.space ? ` in ${this.space}` : '';
    const none = this.match || place ? `Nothing is called ${this.match || 'anything'}${place}.` : this.listing.none;
    this.say(rows.length ? null : none);
    write(this.sum, this.summary(answer));
  }

  summary({ rows, total, totals, partial }) {
    if (!rows.length) return '';
    const from = (this.cursors.length - 1) * ROWS;
    const place = rows.length < total
      ? `${count(from + 1)}–${count(from + rows.length)} of ${count(total)}`
      : `${count(total)} ${total === 1 ? this.listing.one : this.listing.many ?? this.listing.title.toLowerCase()}`;
    const sums = Object.entries(totals ?? {})
      .map(([key, value]) => [this.columns.find(column => column.key === key), value])
      .filter(([column, value]) => column && isNumber(value) && column.kind === 'number')
      .map(([column, value]) => `${column.show(value, {})} ${column.label.toLowerCase()}`);
    return [place, ...sums, ...(partial ? ['not all: the broker stopped looking'] : [])].join(' · ');
  }

  /** Rows that are still there stay the same elements, so that what is focused or selected remains so. */
  fill(rows) {
    const seen = new Set();
    let place = this.body.firstElementChild;
    for (const row of rows) {
      const key = String(this.listing.key(row));
      if (seen.has(key)) continue;
      seen.add(key);
      const shown = this.rows.get(key) ?? this.makeRow(key);
      this.update(shown, row);
      if (shown.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(shown.element, place);
    }
    for (const [key, shown] of this.rows) {
      if (seen.has(key)) continue;
      shown.element.remove();
      this.rows.delete(key);
    }
  }

  makeRow(key) {
    const cells = this.columns.map(column => element('td', { class: this.style(column), 'data-label': column.label },
      column.link ? element('a') : null));
    const shown = { element: element('tr', {}, ...cells), cells };
    shown.element.addEventListener('click', event => {
      if (!event.target.closest('a') && !getSelection().toString()) shown.element.querySelector('a[href]')?.click();
    });
    this.rows.set(key, shown);
    return shown;
  }

  update(shown, row) {
    this.columns.forEach((column, index) => {
      const cell = shown.cells[index];
      const text = column.show(row[column.key], row);
      const link = cell.firstElementChild;
      write(link ?? cell, text);
      if (column.kind !== 'number') cell.title = text;
      if (link && row[column.key]) link.href = address(column.link(row));
      cell.classList.toggle('bad', column.key === 'drops' && row.drops > 0);
      cell.classList.toggle('none', text === '–' || /^0\b(?!\.)/.test(text));
    });
    shown.element.classList.toggle('linked', Boolean(shown.element.querySelector('a[href]')));
  }
}
