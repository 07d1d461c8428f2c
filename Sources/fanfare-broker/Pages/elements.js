// Elements and texts. Names and messages are other people's: everything is set as text, nothing is parsed as HTML.

const SVG = 'http://www.w3.org/2000/svg';
const byID = id => document.getElementById(id);

/** Makes an element. `properties` are attributes; functions are listeners; false and null leave out. */
function element(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

function drawing(name, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

function filled(made, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === 'function') made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return made;
}

/** Where somebody types a name or a pattern. */
const field = properties => element(
  'input', { type: 'search', spellcheck: 'false', autocomplete: 'off', maxlength: 200, ...properties },
);
const namespaceField = properties => field(
  { class: 'space', 'aria-label': 'Only this namespace', placeholder: 'All namespaces', ...properties }
);

/** Sets a text only when it is another: what does not change keeps its selection. */
function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// Numbers as people read them. Each takes null for "not known".

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const fine = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

const isNumber = value => typeof value === 'number' && Number.isFinite(value);

function count(value) {
  return isNumber(value) ? whole.format(value) : '–';
}

function rate(value) {
  if (!isNumber(value)) return '–';
  if (value >= 10000) return short.format(value);
  return value >= 100
    || value === 0
    ? whole.format(value)
    : value < 0.05
    ? '<0.1'
    : fine.format(Math.round(value * 10) / 10);
}

function bytes(value) {
  if (!isNumber(value)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit ? fine.format(value) : whole.format(value)} ${units[unit]}`;
}

/** A length of time in milliseconds, in its two largest units; from ten of the larger on, in that alone. */
function lasting(milliseconds) {
  if (!isNumber(milliseconds)) return '–';
  if (milliseconds < 10) return `${milliseconds ? fine.format(milliseconds) : 0} ms`;
  if (milliseconds < 1000) return `${whole.format(milliseconds)} ms`;
  let rest = Math.floor(milliseconds / 1000);
  const parts = [];
  for (const [name, seconds] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
    if (rest >= seconds || (name === 's' && !parts.length)) parts.push(`${Math.floor(rest / seconds)} ${name}`);
    if (parts.length === 2 || rest >= 10 * seconds) break;
    rest %= seconds;
  }
  return parts.join(' ');
}

const ago = milliseconds => isNumber(milliseconds)
  ? (milliseconds < 1000 ? 'now' : `${lasting(milliseconds)} ago`)
  : '–';
const seconds = value => isNumber(value) ? lasting(value * 1000) : '–';
const plain = value => value === null || value === undefined || value === '' ? '–' : String(value);
const reason = value => plain(value).replaceAll('_', ' ');

/** A pattern that matches exactly `name`. */
const exactly = name => name.replace(/[*?[]/g, '[$&]');
