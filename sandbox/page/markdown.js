/** Discord's markdown as DOM nodes. `names` turns ids into names: {user(id), channel(id)}. */

import { h } from './dom.js';

const INLINE = new RegExp(
  [
    /\\(?<escaped>[^0-9A-Za-z\s])/,
    /`+(?<code>[^`]+)`+/,
    /\*\*(?<strong>[^]+?)\*\*(?!\*)/,
    /__(?<u>[^]+?)__/,
    /~~(?<s>[^]+?)~~/,
    /\|\|(?<spoiler>[^]+?)\|\|/,
    /\*(?<star>\S(?:[^]*?\S)??)\*/,
    /\b_(?<em>\S(?:[^]*?\S)??)_\b/,
    /\[(?<label>[^\]]+)\]\(<?(?<target>https?:\/\/[^\s)>]+)>?\)/,
    /<?(?<url>https?:\/\/[^\s<>]*[^\s<>.,;:!?)'"])>?/,
    /<t:(?<unix>-?\d{1,13})(?::(?<style>[tTdDfFR]))?>/,
    /<@!?(?<user>\d+)>/,
    /<#(?<channel>\d+)>/,
    /<@&(?<role>\d+)>/,
    /<\/(?<command>[^:>]+):\d+>/,
    /<a?:(?<emoji>\w+):\d+>/,
  ].map((pattern) => pattern.source).join('|'),
  'g',
);

const BLOCKS = [
  [/^(#{1,3}) (.*)$/, ([, marks, text], names) => h(`h${marks.length + 2}`, {}, inline(text, names))],
  [/^-# (.*)$/, ([, text], names) => h('small', { class: 'subtext' }, inline(text, names))],
  [/^\s*[-*] (.*)$/, ([, text], names) => h('div', { class: 'item' }, inline(text, names))],
];

/** Render a message's text. */
export function markdown(text, names) {
  const fragment = document.createDocumentFragment();
  const parts = text.split(/```(?:\w*\n)?([^]*?)```/); // odd ones are code blocks
  parts.forEach((part, index) => {
    if (index % 2) fragment.append(h('pre', {}, h('code', {}, part)));
    else if (part) fragment.append(...blocks(part, names));
  });
  return fragment;
}

function blocks(text, names) {
  const nodes = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) nodes.push(h('div', {}, inline(paragraph.join('\n'), names)));
    paragraph = [];
  };
  const lines = text.replace(/^\n|\n$/g, '').split('\n');
  while (lines.length) {
    if (/^>( |$)/.test(lines[0])) {
      flush();
      const quoted = [];
      while (lines.length && /^>( |$)/.test(lines[0])) quoted.push(lines.shift().slice(2));
      nodes.push(h('blockquote', {}, markdown(quoted.join('\n'), names)));
      continue;
    }
    const line = lines.shift();
    const [pattern, build] = BLOCKS.find(([each]) => each.test(line)) || [];
    if (pattern) {
      flush();
      nodes.push(build(line.match(pattern), names));
    } else {
      paragraph.push(line);
    }
  }
  flush();
  return nodes;
}

function inline(text, names) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, match.index), span(match.groups, names));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

const SPOILER = {
  type: 'button',
  class: 'spoiler',
  title: 'Spoiler',
  onclick: (event) => event.currentTarget.classList.toggle('open'),
};

function span(found, names) {
  const nested = (tag, text, properties) => h(tag, properties, inline(text, names));
  if (found.escaped) return found.escaped;
  if (found.code) return h('code', {}, found.code);
  if (found.strong) return nested('strong', found.strong);
  if (found.u) return nested('u', found.u);
  if (found.s) return nested('s', found.s);
  if (found.spoiler) return nested('button', found.spoiler, SPOILER);
  if (found.star || found.em) return nested('em', found.star || found.em);
  if (found.url) return link(found.url, found.url);
  if (found.target) return link(found.target, inline(found.label, names));
  if (found.unix) return timestamp(Number(found.unix), found.style || 'f');
  if (found.user) return h('span', { class: 'mention' }, `@${names.user(found.user)}`);
  if (found.channel) return h('span', { class: 'mention' }, `#${names.channel(found.channel)}`);
  if (found.role) return h('span', { class: 'mention' }, '@role');
  if (found.command) return h('span', { class: 'mention' }, `/${found.command}`);
  return `:${found.emoji}:`;
}

/** A link in a tab of its own; what is no web address stays text. */
export function link(address, ...label) {
  if (!/^(https?:\/)?\//i.test(address)) return h('span', {}, ...label);
  return h('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, ...label);
}

const STYLES = {
  t: { timeStyle: 'short' },
  T: { timeStyle: 'medium' },
  d: { dateStyle: 'short' },
  D: { dateStyle: 'long' },
  f: { dateStyle: 'long', timeStyle: 'short' },
  F: { dateStyle: 'full', timeStyle: 'short' },
};

function timestamp(unix, style) {
  const date = new Date(unix * 1000);
  const full = new Intl.DateTimeFormat('en', STYLES.F).format(date);
  const relative = style === 'R';
  const text = relative ? fromNow(unix) : new Intl.DateTimeFormat('en', STYLES[style]).format(date);
  // Counting down must not make a screen reader talk every second.
  const live = relative ? { 'data-unix': unix, 'aria-live': 'off' } : {};
  return h('time', { datetime: date.toISOString(), title: full, ...live }, text);
}

const UNITS = [['year', 31536000], ['month', 2592000], ['day', 86400], ['hour', 3600], ['minute', 60]];
const RELATIVE = new Intl.RelativeTimeFormat('en');

function fromNow(unix) {
  const seconds = Math.round(unix - Date.now() / 1000);
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) || ['second', 1];
  return RELATIVE.format(Math.trunc(seconds / size), unit);
}

/** Let every `<t:…:R>` on the page count. */
export function tick() {
  for (const time of document.querySelectorAll('time[data-unix]')) {
    const text = fromNow(Number(time.dataset.unix));
    if (time.textContent !== text) time.textContent = text;
  }
}
