/** Buttons and selects as DOM nodes; a kind that the page does not know is named. */

import { h, local } from './dom.js';
import { link, markdown } from './markdown.js';

const ROW = 1;
const BUTTON = 2;
const STRING_SELECT = 3;
const USER_SELECT = 5;
const MENTIONABLE_SELECT = 7;
const CHANNEL_SELECT = 8;
const LINK_STYLE = 5;
const TEXT = 10;
const BUTTON_STYLES = { 1: 'primary', 2: 'secondary', 3: 'success', 4: 'danger' };

/** Build components; `press(component, values, element)` is called when one is used. */
export function renderComponents(components, names, press) {
  const nested = (list) => renderComponents(list || [], names, press);
  const builders = {
    [ROW]: (each) => h('div', { class: 'row' }, nested(each.components)),
    [BUTTON]: (each) => button(each, press),
    [TEXT]: (each) => h('div', {}, markdown(each.content, names)),
  };
  return components.map((each) => {
    if (isSelect(each.type)) return select(each, names, press);
    return builders[each.type]?.(each) || h('small', { class: 'subtext' }, `(component ${each.type})`);
  });
}

export const isSelect = (type) => type === STRING_SELECT || (type >= USER_SELECT && type <= CHANNEL_SELECT);

const emoji = (each) => (each.emoji?.name && !each.emoji.id ? `${each.emoji.name} ` : '');

function button(each, press) {
  const label = `${emoji(each)}${each.label || ''}`.trim();
  if (each.style === LINK_STYLE) {
    const anchor = link(local(each.url), `${label} ↗`);
    anchor.className = 'button secondary';
    return anchor;
  }
  return h('button', {
    type: 'button',
    class: `button ${BUTTON_STYLES[each.style] || 'secondary'}`,
    disabled: each.disabled,
    'data-custom-id': each.custom_id,
    onclick: (event) => press(each, undefined, event.currentTarget),
  }, label);
}

/** What a select offers: {label, value, description, default}. */
export function selectOptions(each, names) {
  if (each.type === STRING_SELECT) return each.options;
  if (each.type === CHANNEL_SELECT) return names.channels();
  return each.type === USER_SELECT || each.type === MENTIONABLE_SELECT ? names.members() : [];
}

/** A native select; one that takes several values is a list. */
export function selectElement(each, names, properties = {}) {
  const several = (each.max_values ?? 1) > 1;
  const placeholder = each.placeholder || 'Make a selection';
  const options = selectOptions(each, names).map((option) => {
    const text = `${emoji(option)}${option.label}${option.description ? ` — ${option.description}` : ''}`;
    return h('option', { value: option.value, selected: option.default }, text);
  });
  return h('select', {
    multiple: several,
    disabled: each.disabled,
    'data-custom-id': each.custom_id,
    'aria-label': placeholder,
    ...properties,
  }, several ? [] : h('option', { value: '', disabled: true, selected: true }, placeholder), options);
}

function select(each, names, press) {
  const chosen = (element) => [...element.selectedOptions].map((option) => option.value);
  if ((each.max_values ?? 1) <= 1) {
    const onchange = (event) => press(each, chosen(event.target), event.target);
    return selectElement(each, names, { onchange });
  }
  const list = selectElement(each, names);
  const onclick = (event) => press(each, chosen(list), event.currentTarget);
  const done = h('button', { type: 'button', class: 'button secondary', disabled: each.disabled, onclick }, 'Choose');
  return h('div', { class: 'row' }, list, done);
}

