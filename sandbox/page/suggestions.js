/** The list above the composer: commands, choices, further options. The focus stays in the field. */

import { h } from './dom.js';

export class Suggestions {
  constructor(panel, title, list) {
    Object.assign(this, { panel, title, list, items: [], active: -1 });
  }

  get open() {
    return !this.panel.hidden;
  }

  /** Show `items` ({label, detail, pick}) for `field`; `active` is the one that Enter picks, or -1. */
  show(field, title, items, active = -1) {
    this.hide();
    Object.assign(this, { field, items });
    this.title.replaceChildren(...title);
    this.list.replaceChildren(...items.map((item, index) => h('li', {
      id: `suggestion-${index}`,
      role: 'option',
      onpointerdown: (event) => event.preventDefault(), // the focus stays where it is
      onclick: () => item.pick(),
      onpointermove: () => this.activate(index),
    }, h('span', { class: 'label' }, item.label), item.detail ? h('span', { class: 'detail' }, item.detail) : null)));
    this.list.hidden = !items.length;
    this.panel.hidden = false;
    if (field.role === 'combobox') field.setAttribute('aria-expanded', String(items.length > 0));
    this.activate(Math.min(active, items.length - 1));
  }

  hide() {
    if (this.field?.role === 'combobox') this.field.setAttribute('aria-expanded', 'false');
    this.field?.removeAttribute('aria-activedescendant');
    this.panel.hidden = true;
    this.items = [];
    this.active = -1;
  }

  activate(index) {
    this.active = index;
    [...this.list.children].forEach((element, at) => element.setAttribute('aria-selected', String(at === index)));
    if (index < 0) return;
    this.list.children[index].scrollIntoView({ block: 'nearest' });
    this.field.setAttribute('aria-activedescendant', `suggestion-${index}`);
  }

  move(step) {
    if (!this.items.length) return;
    const from = this.active < 0 && step < 0 ? 0 : this.active;
    this.activate((from + step + this.items.length) % this.items.length);
  }
}
