/** Small helpers to build the page without innerHTML: data only ever becomes text. */

/** Create an element. `on…` properties listen, `class` and attributes are set, falsy ones left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Colour number (0–7) and initials of a generated avatar. */
export function paintAvatar(element, id, name) {
  let sum = 0;
  for (const digit of String(id)) sum = (sum * 31 + digit.charCodeAt(0)) % 9973;
  element.className = `avatar colour-${sum % 8}`;
  element.textContent = name.slice(0, 1).toUpperCase();
  return element;
}

export const avatar = (user) =>
  paintAvatar(h('span', { 'aria-hidden': 'true' }), user.id, displayName(user));

export const displayName = (user) =>
  user.global_name || user.display_name || user.username || user.name || 'somebody';

/** The emulated CDN under the page's own origin, so that `localhost` works like `127.0.0.1`. */
export function local(address) {
  const url = new URL(address, location.href);
  const loopback = ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
  return loopback && url.port === location.port ? url.pathname + url.search : url.href;
}
