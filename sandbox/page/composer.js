/** The line at the bottom: `/` opens the commands, and a command becomes a row of options. */

import { ATTACHMENT, choices, chosen, convert, matchCommand, splitAtNames, typeable } from './commands.js';
import { h } from './dom.js';
import { Suggestions } from './suggestions.js';

const $ = (id) => document.getElementById(id);

export class Composer {
  /** `send(command, values, files)` is a promise; when it fails, its message is shown. */
  constructor(send) {
    Object.assign(this, { send, commands: [], guild: { members: [], channels: [] }, chips: new Map() });
    this.form = $('composer');
    this.row = $('command');
    this.text = $('text');
    this.error = $('composer-error');
    this.suggestions = new Suggestions($('suggestions'), $('suggestions-title'), $('suggestions-list'));
    this.more = h('button', { type: 'button', class: 'more', 'aria-haspopup': 'listbox', onfocus: () => this.offerOptions(), onclick: () => this.offerOptions() });
    this.text.addEventListener('input', () => this.read());
    this.text.addEventListener('focus', () => this.read());
    this.form.addEventListener('keydown', (event) => this.key(event));
    this.form.addEventListener('submit', (event) => { event.preventDefault(); this.submit(); });
    this.form.addEventListener('focusout', (event) => {
      if (!this.form.contains(event.relatedTarget)) this.suggestions.hide();
    });
    this.takeFiles();
  }

  setCommands(commands) {
    this.commands = typeable(commands.filter((command) => (command.type ?? 1) === 1));
    if (document.activeElement === this.text && this.text.value) this.read();
  }

  focus() {
    const empty = [...this.chips.values()].find((chip) => !chip.filled);
    const last = [...this.chips.values()].at(-1);
    const field = this.command ? empty?.field || last?.field || $('send') : this.text;
    field.focus();
    // Chromium leaves a field that was hidden, or behind a dialog, without a caret.
    field.setSelectionRange?.(field.value.length, field.value.length);
  }

  /** Put a whole command in, as if it had been pasted. */
  fill(text) {
    this.cancel(text);
    this.focus();
    this.read();
  }

  // Typing a command's name ------------------------------------------------------------------------

  read() {
    const text = this.text.value;
    this.fail('');
    if (!text.startsWith('/')) return this.suggestions.hide();
    const match = matchCommand(this.commands, text);
    if (match) return this.enter(match.command, match.rest);
    const wanted = text.slice(1).trim().toLowerCase();
    const score = ({ name }) => (name.startsWith(wanted) ? 0 : 1);
    const found = this.commands.filter(({ name }) => name.includes(wanted)).sort((a, b) => score(a) - score(b));
    const title = found.length ? 'Commands' : this.commands.length ? `No command like “${text}”` : 'No bot has registered a command yet';
    this.suggestions.show(this.text, [title], found.map((command) => ({
      label: `/${command.name}`,
      detail: command.description,
      pick: () => this.enter(command),
    })), 0);
  }

  enter(command, text = '') {
    this.command = command;
    this.text.value = '';
    this.text.hidden = true;
    this.row.hidden = false;
    this.chips.clear();
    this.row.replaceChildren(h('strong', {}, `/${command.name}`), this.more);
    this.row.setAttribute('aria-label', `Options of /${command.name}`);
    command.options.filter((option) => option.required).forEach((option) => this.add(option));
    this.countMore();
    const { lead, named } = splitAtNames(command.options, text);
    if (lead.trim()) this.firstText()?.set(lead.trim());
    this.distribute(named);
    this.focus();
    if (!this.chips.size) this.suggestions.show($('send'), [h('span', {}, h('strong', {}, `/${command.name}`), ` ${command.description}`), KEYS.cloneNode(true)], []);
  }

  firstText() {
    return [...this.chips.values()].find((chip) => chip.option.type !== ATTACHMENT);
  }

  distribute(named) {
    for (const [option, text] of named) this.add(option).set(text);
    return named.length ? this.chips.get(named.at(-1)[0].name) : undefined;
  }

  /** Escape, or everything erased: back to a line of text. */
  cancel(text = '') {
    this.command = undefined;
    this.chips.clear();
    this.row.hidden = true;
    this.text.hidden = false;
    this.text.value = text;
    this.fail('');
    this.suggestions.hide();
  }

  // Options ----------------------------------------------------------------------------------------

  /** Return the option's chip, new where there is none yet. */
  add(option) {
    if (!this.chips.has(option.name)) {
      const chip = option.type === ATTACHMENT ? new FileChip(this, option) : new TextChip(this, option);
      this.chips.set(option.name, chip);
      this.more.before(chip.element);
      this.countMore();
    }
    return this.chips.get(option.name);
  }

  remove(chip) {
    const before = [...this.chips.values()].findIndex((each) => each === chip) - 1;
    this.chips.delete(chip.option.name);
    chip.element.remove();
    this.countMore();
    ([...this.chips.values()][Math.max(before, 0)]?.field || this.more).focus();
  }

  countMore() {
    const left = this.command.options.length - this.chips.size;
    this.more.hidden = left === 0;
    this.more.textContent = `+${left} ${this.chips.size ? 'more' : 'optional'}`;
  }

  offerOptions() {
    const left = this.command.options.filter((option) => !this.chips.has(option.name));
    this.suggestions.show(this.more, ['Options'], left.map((option) => ({
      label: option.name,
      detail: option.description,
      pick: () => this.add(option).field.focus(),
    })), 0);
  }

  /** After a choice: on to what is still missing, else stay. */
  advance(chip) {
    const missing = [...this.chips.values()].find((each) => !each.filled);
    (missing || chip).field.focus();
    if (!missing) chip.offer();
  }

  // Keys -------------------------------------------------------------------------------------------

  key(event) {
    if (event.isComposing) return;
    const chip = [...this.chips.values()].find((each) => each.field === event.target);
    const { suggestions } = this;
    const item = suggestions.open && suggestions.items[suggestions.active];
    const wants = item && !chip?.settled;
    const act = {
      ArrowDown: () => suggestions.open && suggestions.move(1),
      ArrowUp: () => (suggestions.open ? suggestions.move(-1) : this.recall()),
      Enter: () => this.enterKey(event.target, wants && item),
      Escape: () => { this.cancel(); this.focus(); },
      Tab: () => this.tab(event, chip, wants && item),
      Backspace: () => this.backspace(chip, event.target),
    }[event.key];
    if (act && act() !== false) event.preventDefault();
  }

  enterKey(target, item) {
    const opensFiles = target.matches('.pick') && !this.chips.get(target.dataset.option).filled;
    if (opensFiles || target.matches('.remove')) return false; // the button's own click
    return item && target !== $('send') ? item.pick() : this.submit();
  }

  tab(event, chip, item) {
    if (event.shiftKey || !item) return false;
    if (event.target === this.text) return item.pick();
    if (chip && (chip.field.value || chip.option.required)) chip.set(item.label);
    return false; // and the focus moves on by itself
  }

  backspace(chip, target) {
    if (!this.command || target.value || (chip?.option.type === ATTACHMENT && chip.filled)) return false;
    if (chip && !chip.option.required) return this.remove(chip);
    if ([...this.chips.values()].some((each) => each.filled)) return false;
    const name = this.command.name;
    this.cancel(`/${name}`);
    return this.text.focus();
  }

  recall() {
    if (this.command || this.text.value || !this.last) return false;
    this.enter(this.last.command);
    for (const [option, set] of this.last.fields) set(this.add(option));
    return this.focus();
  }

  // Sending ----------------------------------------------------------------------------------------

  async submit() {
    if (!this.command) return this.submitText();
    const values = {};
    const files = [];
    let wrong;
    for (const chip of this.chips.values()) {
      try {
        chip.fail('');
        chip.collect(values, files);
      } catch (error) {
        chip.fail(error.message);
        wrong ||= chip;
      }
    }
    if (wrong) return wrong.field.focus();
    return this.transmit(values, files);
  }

  submitText() {
    const text = this.text.value.trim();
    const match = matchCommand(this.commands, `${text} `);
    if (match) return this.enter(match.command);
    if (text) this.fail('In the sandbox members speak in commands: type / to see them.');
    return undefined;
  }

  async transmit(values, files) {
    if (this.sending) return;
    this.sending = true;
    try {
      const { command, chips } = this;
      await this.send(command, values, files);
      this.last = { command, fields: [...chips.values()].map((chip) => [chip.option, (to) => to.copy(chip)]) };
      this.cancel();
    } catch (refusal) {
      const named = [...this.chips.values()].find(({ option }) => new RegExp(`\\b${option.name}\\b`).test(refusal.message));
      (named || this).fail(refusal.message);
    }
    this.sending = false;
    this.focus();
  }

  fail(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }

  // Files: chosen, dropped or pasted -----------------------------------------------------------------

  takeFiles() {
    const over = (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      this.form.classList.toggle('dropping', event.type === 'dragover');
      if (event.type === 'drop') this.attach(event.dataTransfer.files[0]);
    };
    for (const type of ['dragover', 'dragleave', 'drop']) document.addEventListener(type, over);
    document.addEventListener('paste', (event) => {
      const file = event.clipboardData.files[0];
      if (!file || document.querySelector('dialog[open]')) return;
      event.preventDefault();
      this.attach(file);
    });
  }

  /** Put a file into the first empty attachment option, of a command that has one. */
  attach(file) {
    const takesFile = (command) => command?.options.some((option) => option.type === ATTACHMENT);
    if (!this.command) {
      const command = this.commands.find(takesFile);
      if (command) this.enter(command);
    }
    if (!takesFile(this.command)) return this.fail('No command here takes a file.');
    const options = this.command.options.filter((option) => option.type === ATTACHMENT);
    const free = options.find((option) => !this.chips.get(option.name)?.filled) || options[0];
    this.add(free).take(file);
    return this.focus();
  }
}

const KEYS = h('span', { class: 'keys' }, 'Tab next · Enter sends · Esc cancels');

/** What both kinds of option share: name, field, error. */
class Chip {
  constructor(composer, option, field) {
    Object.assign(this, { composer, option, field });
    this.error = h('span', { class: 'chip-error', id: `error-${option.name}`, role: 'alert' });
    field.setAttribute('aria-describedby', this.error.id);
    field.addEventListener('focus', () => this.offer());
    this.element = h('div', { class: 'chip', 'data-option': option.name },
      h('label', { for: field.id }, option.name), field, this.error);
  }

  get title() {
    const { name, description, required } = this.option;
    return [h('span', {}, h('strong', {}, name), ` ${description} `, h('kbd', {}, required ? 'required' : 'optional')), KEYS.cloneNode(true)];
  }

  fail(sentence) {
    this.error.textContent = sentence;
    this.field.setAttribute('aria-invalid', String(Boolean(sentence)));
  }

  /** Add this option to `values` and `files`; throws where it must be filled in. */
  collect(values, files) {
    if (this.filled) values[this.option.name] = this.value(files);
    else if (this.option.required) throw new Error('This option is required.');
  }
}

class TextChip extends Chip {
  constructor(composer, option) {
    const offered = choices(option, composer.guild);
    const list = { type: 'text', role: 'combobox', 'aria-expanded': 'false', 'aria-controls': 'suggestions-list' };
    const field = h(offered ? 'input' : 'textarea', {
      id: `option-${option.name}`,
      'aria-required': option.required && 'true',
      ...(offered ? list : { rows: 1 }),
    });
    super(composer, option, field);
    this.offered = offered;
    field.addEventListener('input', () => this.read());
  }

  get filled() {
    return Boolean(this.field.value.trim());
  }

  /** Whether Enter should send rather than pick: nothing to pick, or picked already. */
  get settled() {
    return !this.offered || Boolean(chosen(this.offered, this.field.value.trim()));
  }

  set(text) {
    const choice = this.offered && chosen(this.offered, text.trim());
    this.field.value = choice ? choice.name : text;
    this.fail('');
  }

  copy(chip) {
    this.set(chip.field.value);
  }

  value() {
    return convert(this.option, this.field.value.trim(), this.composer.guild);
  }

  /** Typed or pasted text may name further options: `a red fox aspect:9:16`. */
  read() {
    this.fail('');
    const text = this.field.value.replace(/\s*\n\s*/g, ' ');
    if (text !== this.field.value) this.field.value = text;
    const { options } = this.composer.command;
    const free = options.filter((option) => option === this.option || !this.composer.chips.get(option.name)?.filled);
    const { lead, named } = splitAtNames(free, text);
    const own = named.length && named[0][0] === this.option && !lead.trim();
    if (!named.length || (named[0][0] === this.option && !own)) return this.offer();
    if (!own) this.set(lead.trim());
    return this.composer.distribute(named).field.focus();
  }

  offer() {
    const { suggestions } = this.composer;
    if (!this.offered) return suggestions.show(this.field, this.title, []);
    const text = this.field.value.trim().toLowerCase();
    const exact = chosen(this.offered, text);
    const matching = this.offered.filter(({ name, value }) => `${name} ${value}`.toLowerCase().includes(text));
    const found = exact || !matching.length ? this.offered : matching;
    const active = exact ? found.indexOf(exact) : matching.length && (text || this.option.required) ? 0 : -1;
    const items = found.map((choice) => ({
      label: choice.name,
      detail: choice.detail,
      pick: () => { this.set(choice.name); this.composer.advance(this); },
    }));
    return suggestions.show(this.field, this.title, items, active);
  }
}

class FileChip extends Chip {
  constructor(composer, option) {
    const input = h('input', { type: 'file', hidden: true, onchange: () => this.take(input.files[0]) });
    const field = h('button', { type: 'button', class: 'pick', 'data-option': option.name, id: `option-${option.name}`, onclick: () => input.click() }, 'Choose, drop or paste a file');
    super(composer, option, field);
    this.element.append(input);
    if (!option.required) {
      const onclick = () => composer.remove(this);
      this.element.append(h('button', { type: 'button', class: 'remove', 'aria-label': `Remove ${option.name}`, onclick }, '✕'));
    }
  }

  get filled() {
    return Boolean(this.file);
  }

  get settled() {
    return true;
  }

  set() {}

  copy(chip) {
    if (chip.file) this.take(chip.file);
  }

  value(files) {
    return { file: files.push(this.file) - 1 };
  }

  offer() {
    this.composer.suggestions.show(this.field, this.title, []);
  }

  async take(file) {
    if (!file) return;
    this.file = file;
    this.fail('');
    this.field.replaceChildren(file.name);
    const thumbnail = await drawThumbnail(file);
    if (thumbnail && this.file === file) this.field.prepend(thumbnail);
  }
}

const THUMBNAIL_PX = 40;

/** A picture's thumbnail on a canvas (a blob: address would need a hole in the page's policy). */
async function drawThumbnail(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return null;
  const scale = THUMBNAIL_PX / Math.min(bitmap.width, bitmap.height);
  const canvas = h('canvas', { width: THUMBNAIL_PX, height: THUMBNAIL_PX, class: 'preview' });
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext('2d').drawImage(bitmap, (THUMBNAIL_PX - width) / 2, (THUMBNAIL_PX - height) / 2, width, height);
  return canvas;
}
