/** A form that the bot opens, in a <dialog>. */

import { renderComponents, isSelect, selectElement } from './components.js';
import { h } from './dom.js';

const [ROW, TEXT_INPUT, LABEL] = [1, 4, 18];
const PARAGRAPH = 2;

/** Open `modal`; `submit(fields)` is a promise, and the form stays open with its error's message. */
export function openModal(dialog, modal, names, submit) {
  const inputs = new Map(); // custom id → element
  const error = h('p', { role: 'alert', class: 'failure' });
  const send = h('button', { type: 'submit', class: 'button primary' }, 'Submit');
  const close = h('button', { type: 'button', class: 'button secondary', onclick: () => dialog.close() }, 'Cancel');
  const onsubmit = async (event) => {
    event.preventDefault();
    send.setAttribute('aria-busy', 'true');
    try {
      await submit(Object.fromEntries([...inputs].map(([id, input]) => [id, input.value])));
      dialog.close();
    } catch (refusal) {
      error.textContent = refusal.message;
    }
    send.removeAttribute('aria-busy');
  };
  dialog.replaceChildren(h('form', { onsubmit },
    h('h2', { id: 'modal-title' }, modal.title),
    modal.components.flatMap((each) => fields(each, names, inputs)),
    error,
    h('div', { class: 'row' }, close, send)));
  dialog.showModal();
}

function fields(component, names, inputs) {
  if (component.type === ROW) return component.components.flatMap((each) => fields(each, names, inputs));
  const inner = component.type === LABEL ? component.component : component;
  if (inner.type !== TEXT_INPUT && !isSelect(inner.type)) return renderComponents([component], names, () => {});
  const id = `field-${inner.custom_id}`;
  const required = inner.required ?? true;
  const input = isSelect(inner.type) ? selectElement(inner, names, { id, required }) : textInput(inner, id, required);
  inputs.set(inner.custom_id, input);
  return [h('label', { for: id }, component.label || inner.label || '', required ? h('span', { class: 'required' }, ' *') : null),
    component.description ? h('small', {}, component.description) : null, input].filter(Boolean);
}

function textInput(inner, id, required) {
  const properties = {
    id, required, placeholder: inner.placeholder, minlength: inner.min_length, maxlength: inner.max_length,
  };
  const long = inner.style === PARAGRAPH;
  const input = h(long ? 'textarea' : 'input', long ? { rows: 4, ...properties } : properties);
  input.value = inner.value || '';
  return input;
}
