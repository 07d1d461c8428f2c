// The frame: header, facts, tabs, addresses, theme, and the question for a token.

const tabs = {
  names: ['groups', 'channels', 'workers', 'drops', 'closed', 'tail'],
  current: null,
  listing: null,

  build() {
    byID('tabs').append(...this.names.map(id => element('a', { href: `#/${id}`, id: `tab-${id}` },
      LISTINGS[id]?.title ?? 'Tail', element('span', { class: 'badge', hidden: true }))));
    byID('tabs').addEventListener('scroll', () => this.fade());
    const sizes = new ResizeObserver(() => this.reveal());
    for (const sized of [byID('tabs'), ...byID('tabs').children]) sizes.observe(sized);
    window.addEventListener('hashchange', () => this.go());
    this.go();
  },

  /** Scrolls the strip, and nothing else, to the selected tab. */
  reveal() {
    const [strip, link] = [byID('tabs'), byID(`tab-${this.current}`)];
    strip.scrollTo({ left: link.offsetLeft - (strip.clientWidth - link.offsetWidth) / 2 });
    this.fade();
  },

  /** Says at which edges of the strip there is more. */
  fade() {
    const strip = byID('tabs');
    strip.classList.toggle('before', strip.scrollLeft > 1);
    strip.classList.toggle('after', strip.scrollLeft + strip.clientWidth < strip.scrollWidth - 1);
  },

  /** Shows what the address names: `#/groups`, `#/groups/NAMESPACE/NAME`. */
  go() {
    let parts;
    try {
      parts = location.hash.replace(/^#\//, '').split('/').map(decodeURIComponent);
    } catch {
      parts = [];
    }
    const id = this.names.includes(parts[0]) ? parts[0] : 'groups';
    // A name that was followed from another table is shown above that table.
    const isDetail = parts.length > 2;
    if (!this.current || (!isDetail && this.current !== id)) this.show(isDetail && !LISTINGS[id] ? 'groups' : id);
    drawer.open(parts);
  },

  show(id) {
    this.current = id;
    for (const link of byID('tabs').children) {
      if (link.id === `tab-${id}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    this.reveal();
    this.listing?.close();
    tail.end();
    this.listing = id === 'tail' ? null : new Listing(id, byID('panel'));
    if (id === 'tail') tail.show(byID('panel'));
  },

  count(status) {
    for (const id of this.names) {
      const badge = byID(`tab-${id}`).querySelector('.badge');
      const total = LISTINGS[id]?.total(status);
      badge.hidden = !total;
      write(badge, isNumber(total) ? (total < 10000 ? count(total) : short.format(total)) : '');
    }
  },
};

const FACTS = [
  ['Processes', status => count(status.sessions)],
  ['Groups', status => count(status.groups)],
  ['Members', status => count(status.memberships)],
  ['Channels', status => count(status.channels)],
  [
    'Waiting', status => count(status.queued_messages),
    status => 'messages_high' in status ? `most ${count(status.messages_high)}` : bytes(status.queued_bytes),
  ],
  ['Oldest', status => 'oldest_milliseconds' in status ? lasting(status.oldest_milliseconds) : null],
  ['Drops', status => count(sumOf(status.drops)), status => sumOf(status.drops) ? 'since the start' : null],
];

const header = {
  facts: FACTS.map(([label]) => {
    const [value, more] = [element('dd'), element('dd', { class: 'more' })];
    return { value, more, element: element('div', {}, element('dt', {}, label), value, more) };
  }),

  show(state, why) {
    const texts = {
      live: 'Live', lost: 'No answer', paused: 'Paused', locked: 'Locked', forbidden: 'Closed to you',
      connecting: 'Connecting',
    };
    byID('state').dataset.state = state;
    write(byID('state'), texts[state]);
    const notice = byID('notice');
    const isSaid = (state === 'lost' && broker.failures > 1) || state === 'forbidden';
    notice.hidden = !isSaid;
    write(
      notice,
      isSaid ? `${why}${state === 'lost' ? ' Trying again; what you see is the last that was known.' : ''}` : '',
    );
    if (state === 'locked') unlock(why);
    if (state === 'live') this.tell(broker.latest);
  },

  tell(status) {
    const facts = [
      status.broker?.replace('/', ' '), `up ${lasting(status.uptime_milliseconds)}`,
      isNumber(status.pid) ? `process ${status.pid}` : null,
    ];
    write(byID('broker'), facts.filter(Boolean).join(' · '));
    byID('broker').title = (status.endpoints ?? []).join('\n');
    FACTS.forEach(([, read, more], index) => {
      const [shown, text] = [this.facts[index], read(status)];
      shown.element.hidden = text === null;
      write(shown.value, text ?? '');
      write(shown.more, more?.(status) ?? '');
    });
    this.facts.at(-1).element.classList.toggle('bad', sumOf(status.drops) > 0);
    tabs.count(status);
  },
};

/** Asks for a token, and goes on when there is one. */
function unlock(why) {
  const dialog = byID('unlock');
  write(byID('unlock-why'), sessionStorage.getItem(TOKEN) ? why : '');
  if (!dialog.open) dialog.showModal();
}

byID('unlock').addEventListener('cancel', event => event.preventDefault());
byID('unlock-form').addEventListener('submit', () => {
  sessionStorage.setItem(TOKEN, byID('token').value.trim());
  byID('token').value = '';
  broker.poll();
});

const theme = {
  order: ['', 'light', 'dark'],
  names: { '': 'as the system', light: 'light', dark: 'dark' },
  signs: { '': '◐', light: '○', dark: '●' },

  apply(wanted) {
    const known = this.order.includes(wanted) ? wanted : '';
    if (known) document.documentElement.dataset.theme = known;
    else delete document.documentElement.dataset.theme;
    const button = byID('theme');
    write(button, this.signs[known]);
    button.title = `Theme: ${this.names[known]}`;
    button.setAttribute('aria-label', button.title);
  },

  start() {
    this.apply(localStorage.getItem('fanfare-theme') ?? '');
    byID('theme').addEventListener('click', () => {
      const at = this.order.indexOf(localStorage.getItem('fanfare-theme') ?? '');
      const next = this.order[(at + 1) % this.order.length];
      localStorage.setItem('fanfare-theme', next);
      this.apply(next);
    });
  },
};

document.addEventListener('keydown', event => {
  if (
    event.key !== '/'
      || event.ctrlKey
      || event.metaKey
      || event.target.closest('input, select, textarea')
      || document.querySelector('dialog[open]')
  ) return;
  event.preventDefault();
  byID('panel').querySelector('input')?.focus();
});

theme.start();
byID('facts').append(...header.facts.map(fact => fact.element));
makeCharts(byID('charts'));
broker.listeners.push((state, why) => header.show(state, why));
broker.start();
tabs.build();
