// One group, channel or process, in a drawer at the side.

const drawer = {
  place: byID('details'),
  listing: null,
  timer: null,

  /** Shows what `parts` of the address name; closes for anything else. */
  open(parts) {
    this.clear();
    const [kind, space, named, session] = parts;
    const make = named === undefined ? null : {
      groups: () => this.group(space, named), channels: () => this.channel(space, named),
      workers: () => this.worker(space, named, session),
    }[kind];
    if (!make) return this.place.open ? this.place.close() : undefined;
    make();
    if (!this.place.open) this.place.showModal();
  },

  clear() {
    this.listing?.close();
    clearTimeout(this.timer);
    this.listing = this.turn = null;
  },

  frame(kind, title, space, ...rest) {
    this.facts = element('dl', { class: 'facts small' });
    this.problem = element('p', { class: 'empty bad', hidden: true });
    this.place.replaceChildren(
      element('header', {},
        element(
          'div', {}, element('p', { class: 'quiet small' }, broker.isDivided ? `${kind} in ${space}` : kind),
          element('h2', { id: 'details-title', tabindex: -1, autofocus: true }, title),
        ),
        element(
          'button',
          {
            type: 'button', class: 'icon', 'aria-label': 'Close',
            click: () => { location.hash = `#/${tabs.current}`; },
          },
          '✕',
        )),
      this.facts, this.problem, ...rest,
    );
  },

  /** Asks again and again while the drawer is open. */
  async repeat(read, show) {
    const turn = this.turn = this.turn ?? {};
    try {
      const found = broker.state === 'live' ? await read() : null;
      if (found === null) throw new Refusal(0, '', 'silent');
      if (turn !== this.turn) return;
      this.problem.hidden = Boolean(found);
      write(this.problem, found ? '' : 'It is not there any more.');
      if (found) show(found);
    } catch (failure) {
      if (turn !== this.turn) return;
      if (failure.status !== 0) {
        this.problem.hidden = false;
        write(this.problem, failure.message);
      }
    }
    this.timer = setTimeout(() => this.repeat(read, show), REFRESH);
  },

  tell(facts) {
    const known = facts.filter(([, value]) => value !== null && value !== undefined);
    const entries = known.map(
      ([label, value]) => element('div', {}, element('dt', {}, label), element('dd', {}, value))
    );
    this.facts.replaceChildren(...entries);
  },

  watch(kind, named, space) {
    return element(
      'button', { type: 'button', class: 'primary', click: () => tail.begin(kind, exactly(named), space) },
      'Watch its messages',
    );
  },

  group(space, named) {
    const members = element('div');
    this.frame('Group', named, space, this.watch('group', named, space), members);
    this.listing = new Listing('members', members, { name: named, namespace: space });
    this.repeat(
      async () => (await inspect('groups', { match: exactly(named), namespace: space, limit: 1 })).rows[0],
      row => this.tell([
        ['Members', count(row.members)], ['Workers', count(row.owners)], [
          'Messages', count(row.messages),
        ], ['Messages /s', rate(row.rate)],
        ['Drops', 'drops' in row ? count(row.drops) : null], ['Age', lasting(row.age_milliseconds)],
      ]),
    );
  },

  channel(space, named) {
    const groups = element('ul', { class: 'names' });
    const title = element('h3', { hidden: true }, 'In groups');
    this.frame('Channel', named, space, this.watch('channel', named, space), title, groups);
    this.repeat(
      async () => (await inspect('channel', { name: named, namespace: space })).rows[0],
      row => {
        this.tell([
          ['Worker', plain(row.worker)], ['From', plain(row.remote)], [
            'Waiting', `${count(row.depth)} of ${count(row.capacity)}`,
          ], ['Bytes', bytes(row.bytes)],
          [
            'Oldest', lasting(row.oldest_milliseconds),
          ], ['Readers', count(row.readers)], ['Messages', count(row.messages)],
          ['Messages /s', 'rate' in row ? rate(row.rate) : null], ['Drops', count(row.drops)],
          ...Object.entries(row.attributes ?? {}).filter(([key]) => key !== 'remote').map(
            ([key, value]) => [key, plain(value)]
          ),
        ]);
        title.hidden = !row.group_names?.length;
        groups.replaceChildren(
          ...(row.group_names ?? []).slice(0, 200)
            .map(group => element('li', {}, element('a', { href: address(['groups', row.namespace, group]) }, group)))
        );
      },
    );
  },

  worker(space, named, session) {
    this.frame('Process', named, space);
    this.repeat(
      async () => (
        await inspect('sessions', { match: exactly(named), namespace: space, limit: 1000 })
      ).rows.find(row => String(row.session) === session),
      row => {
        const shown = {
          age_milliseconds: lasting, lag_milliseconds: lasting, rate_in: rate, rate_out: rate, bytes_in: bytes,
          bytes_out: bytes, link_bytes: bytes,
        };
        const labels = {
          age_milliseconds: 'age', lag_milliseconds: 'lag', rate_in: 'in /s', rate_out: 'out /s',
          link_bytes: 'unread',
        };
        const facts = Object.entries({ ...row, ...row.attributes })
          .filter(([key]) => !['attributes', 'name'].includes(key));
        this.tell(facts.map(([key, value]) => (
          [
            labels[key] ?? key.replaceAll('_', ' '),
            shown[key] ? shown[key](value) : isNumber(value) ? count(value) : plain(value),
          ]
        )));
      },
    );
  },
};
drawer.place.addEventListener('cancel', event => {
  event.preventDefault();
  location.hash = `#/${tabs.current}`;
});
drawer.place.addEventListener('click', event => {
  // Beside the drawer.
  if (event.target === drawer.place) location.hash = `#/${tabs.current}`;
});
