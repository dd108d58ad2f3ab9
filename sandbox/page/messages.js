/** The channel's messages. An element is kept and patched, so an edit never restarts a video. */

import { renderComponents } from './components.js';
import { avatar, displayName, h, local } from './dom.js';
import { link, markdown } from './markdown.js';

const EPHEMERAL = 64;
const LOADING = 128;
const GROUP_MS = 7 * 60 * 1000;
const NEAR_BOTTOM_PX = 80;
const PARTS = ['reference', 'face', 'head', 'content', 'embeds', 'media', 'components', 'notice', 'tools'];

/**
 * `scroller` scrolls, `list` holds the messages. `hooks`: names (see markdown), me() the member's
 * id, press(message, component, values) and runOn(message, command), both promises, and
 * messageCommands() the commands of a message's context menu.
 */
export class MessageLog {
  constructor(scroller, list, hooks) {
    Object.assign(this, { scroller, list, hooks });
    this.views = new Map();
    this.pending = new Map(); // interaction id → its "Sending command…" line
    this.answered = new Set(); // interactions that caused an event already
    this.atBottom = true;
    this.top = 0;
    scroller.addEventListener('scroll', () => {
      const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
      // Only going up leaves the bottom: new messages push it away as well.
      if (below < NEAR_BOTTOM_PX) this.atBottom = true;
      else if (scroller.scrollTop < this.top) this.atBottom = false;
      this.top = scroller.scrollTop;
    });
    const stick = new ResizeObserver(() => this.stick());
    for (const each of [scroller, ...scroller.children]) stick.observe(each);
  }

  stick() {
    if (this.atBottom) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  clear() {
    this.views.clear();
    this.pending.clear();
    this.answered.clear();
    this.list.replaceChildren();
    this.atBottom = true;
    this.top = 0; // getting shorter is not going up
  }

  /** Create or patch the message of a `create` or `update` event. */
  show({ message, ephemeral, interaction_id: cause }) {
    this.settle(cause);
    let view = this.views.get(message.id);
    if (!view) {
      view = new MessageView(this);
      this.views.set(message.id, view);
      this.list.append(view.element);
    }
    view.update(message, ephemeral || Boolean(message.flags & EPHEMERAL));
    this.regroup();
  }

  remove(id) {
    this.views.get(id)?.element.remove();
    this.views.delete(id);
    this.regroup();
  }

  /** Drop what is not in `ids`: it was deleted while the connection was lost. */
  keepOnly(ids) {
    for (const id of this.views.keys()) if (!ids.has(id)) this.remove(id);
  }

  /** Show that a command is under way until its first event arrives. */
  await(interactionId, member, command) {
    this.atBottom = true; // who speaks wants to see the answer
    this.stick();
    if (this.answered.has(interactionId)) return;
    const element = h('article', { class: 'message' },
      h('div', { class: 'reference' }, usedLine(member, command)),
      h('div', { class: 'content' }, thinking('Sending command')));
    this.pending.set(interactionId, element);
    this.list.append(element);
  }

  /** The interaction has caused something: its waiting line and busy button have done their work. */
  settle(interactionId) {
    if (!interactionId) return;
    this.answered.add(interactionId);
    this.pending.get(interactionId)?.remove();
    this.pending.delete(interactionId);
    this.viewOf(interactionId)?.release();
  }

  /** The bot did not answer in time: say so where the member looks. */
  fail(interactionId, error) {
    const element = this.pending.get(interactionId);
    const sentence = h('p', { class: 'failure' }, `⚠ ${error}`);
    if (element) {
      const dismiss = h('button', { type: 'button', class: 'plain', onclick: () => element.remove() }, 'Dismiss');
      element.lastElementChild.replaceChildren(sentence, h('small', {}, dismiss));
    } else {
      this.viewOf(interactionId)?.fail(error);
    }
    this.pending.delete(interactionId);
    this.answered.add(interactionId);
  }

  viewOf(interactionId) {
    return [...this.views.values()].find((view) => view.interaction === interactionId);
  }

  /** Hide the head of a message that follows another of the same author closely. */
  regroup() {
    let before;
    for (const view of this.views.values()) {
      view.element.classList.toggle('grouped', Boolean(before && view.continues(before)));
      before = view;
    }
  }

  reveal(id) {
    const element = this.views.get(id)?.element;
    element?.scrollIntoView({ block: 'center' });
    element?.classList.add('flash');
    setTimeout(() => element?.classList.remove('flash'), 1500);
  }
}

class MessageView {
  constructor(log) {
    this.log = log;
    this.shown = {}; // part → the JSON it was built from
    this.files = new Map(); // attachment id → element
    this.parts = Object.fromEntries(PARTS.map((name) => [name, h('div', { class: name })]));
    this.element = h('article', { class: 'message' }, Object.values(this.parts));
  }

  update(message, ephemeral) {
    const { names, me } = this.log.hooks;
    Object.assign(this, { message, ephemeral });
    const loading = Boolean(message.flags & LOADING);
    this.element.classList.toggle('ephemeral', ephemeral);
    this.element.classList.toggle('pinged', (message.mentions || []).some((user) => user.id === me()));
    this.patch('reference', reference(message), (said) => said && referenceLine(said, this.log));
    this.patch('face', message.author.id, () => avatar(message.author));
    this.patch('head', [message.author, message.timestamp], () => head(message));
    this.patch('content', [message.content, loading, message.edited_timestamp], () => [
      loading && !message.content ? thinking(`${displayName(message.author)} is thinking`) : '',
      markdown(message.content || '', names),
      message.edited_timestamp && message.content ? h('small', { class: 'edited' }, '(edited)') : '',
    ]);
    this.patch('embeds', message.embeds || [], (embeds) => embeds.map((each) => embed(each, names)));
    this.patchFiles(message);
    this.patch('components', message.components || [], (components) =>
      renderComponents(components, names, (...used) => this.press(...used)));
    this.patch('notice', ephemeral, () => ephemeral && this.privacy());
    this.patch('tools', this.log.hooks.messageCommands().map((each) => each.name), (commands) =>
      commands.map((name) => this.tool(name)));
  }

  /** Rebuild a part only when what it shows has changed; the focus stays on its button. */
  patch(name, data, build) {
    const key = JSON.stringify(data ?? null);
    if (this.shown[name] === key) return;
    this.shown[name] = key;
    const part = this.parts[name];
    const focused = part.contains(document.activeElement) && document.activeElement.dataset.customId;
    part.replaceChildren(...[build(data)].flat().filter(Boolean));
    if (focused) part.querySelector(`[data-custom-id="${CSS.escape(focused)}"]`)?.focus();
  }

  patchFiles(message) {
    const files = (message.attachments || []).filter((file) => !isInEmbed(file, message));
    const ids = new Set(files.map((file) => file.id));
    for (const [id, element] of this.files) {
      if (ids.has(id)) continue;
      element.remove();
      this.files.delete(id);
    }
    for (const file of files) {
      if (this.files.has(file.id)) continue;
      this.files.set(file.id, attachment(file));
      this.parts.media.append(this.files.get(file.id));
    }
  }

  async press(component, values, element) {
    this.release();
    this.busy = element;
    element.setAttribute('aria-busy', 'true');
    try {
      this.interaction = await this.log.hooks.press(this.message, component, values);
      if (this.log.answered.has(this.interaction)) this.release();
    } catch (refusal) {
      this.fail(refusal.message);
    }
  }

  release() {
    this.busy?.removeAttribute('aria-busy');
    this.parts.notice.querySelector('.failure')?.remove();
  }

  fail(sentence) {
    this.release();
    this.parts.notice.append(h('p', { class: 'failure', role: 'alert' }, `⚠ ${sentence}`));
  }

  privacy() {
    const dismiss = () => this.log.remove(this.message.id);
    return h('small', {}, 'Only you can see this • ',
      h('button', { type: 'button', class: 'plain', onclick: dismiss }, 'Dismiss message'));
  }

  tool(name) {
    const onclick = async () => {
      try {
        await this.log.hooks.runOn(this.message, name);
      } catch (refusal) {
        this.fail(refusal.message);
      }
    };
    return h('button', { type: 'button', class: 'button secondary', onclick }, name);
  }

  continues(before) {
    const [mine, theirs] = [this.message, before.message];
    return mine.author.id === theirs.author.id && !reference(mine) && this.ephemeral === before.ephemeral
      && Date.parse(mine.timestamp) - Date.parse(theirs.timestamp) < GROUP_MS;
  }
}

// The parts of a message --------------------------------------------------------------------------

const thinking = (text) => h('span', { class: 'thinking', role: 'status' },
  h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), `${text}…`);

const usedLine = (user, command) => [
  avatar(user), h('strong', {}, displayName(user)), ' used ', h('span', { class: 'mention' }, `/${command}`),
];

/** What the line above a message says: a reply, or the command that it answers. */
function reference(message) {
  const original = message.message_reference?.message_id;
  if (original && (message.type === 19 || message.referenced_message)) {
    return { original, quoted: message.referenced_message || null };
  }
  const user = message.interaction_metadata?.user || message.interaction?.user;
  const command = message.interaction?.name || message.interaction_metadata?.name;
  return user && command ? { user, command } : null;
}

function referenceLine({ original, quoted, user, command }, log) {
  if (!original) return usedLine(user, command);
  const message = log.views.get(original)?.message || quoted;
  if (!message) return h('em', {}, 'Original message was deleted');
  const blocks = markdown(message.content || 'Click to see the message', log.hooks.names).childNodes;
  const plain = [...blocks].map((block) => block.textContent).join(' ');
  const jump = h('button', { type: 'button', class: 'plain', onclick: () => log.reveal(original) }, plain);
  return [avatar(message.author), h('strong', {}, displayName(message.author)), ' ', jump];
}

function head(message) {
  const date = new Date(message.timestamp);
  const today = date.toDateString() === new Date().toDateString();
  const clock = new Intl.DateTimeFormat('en', { timeStyle: 'short' }).format(date);
  const day = today ? 'Today at' : new Intl.DateTimeFormat('en', { dateStyle: 'short' }).format(date);
  return [
    h('strong', { class: 'author' }, displayName(message.author)),
    message.author.bot && h('span', { class: 'tag' }, 'APP'),
    h('time', { datetime: message.timestamp }, `${day} ${clock}`),
  ];
}

const withoutQuery = (address) => (address || '').split('?')[0];

/** Discord shows a file that an embed refers to only inside the embed. */
const isInEmbed = (file, message) => (message.embeds || []).some((each) => [each.image, each.thumbnail]
  .some((picture) => picture && withoutQuery(picture.url) === withoutQuery(file.url)));

function attachment(file) {
  const type = file.content_type || '';
  if (type.startsWith('video/')) return video(file);
  if (type.startsWith('image/')) {
    const { width, height } = file;
    const image = h('img', { class: 'image', src: local(file.url), alt: file.description || file.filename, width, height });
    return link(local(file.url), image);
  }
  if (type.startsWith('audio/')) return h('audio', { src: local(file.url), controls: true, preload: 'metadata' });
  return h('p', { class: 'file' }, link(local(file.url), file.filename), ` (${Math.ceil(file.size / 1024)} kB)`);
}

/** A video waits for the member's click; its size is known before it has loaded. */
function video(file) {
  const { width, height } = file;
  const label = file.description || file.filename;
  return h('video', { src: local(file.url), controls: true, preload: 'metadata', playsinline: true, width, height, 'aria-label': label });
}

function embed(each, names) {
  const text = (words) => markdown(words, names);
  const picture = (image, kind) => image && h('img', { class: kind, src: local(image.url), alt: '' });
  const stamp = each.timestamp && new Date(each.timestamp).toLocaleString('en');
  const footer = [each.footer?.text, stamp].filter(Boolean).join(' • ');
  const element = h('section', { class: 'embed' },
    picture(each.thumbnail, 'thumbnail') || null,
    each.author?.name ? h('small', { class: 'embed-author' }, each.author.name) : null,
    each.title ? h('strong', { class: 'title' }, each.url ? link(each.url, each.title) : text(each.title)) : null,
    each.description ? h('div', {}, text(each.description)) : null,
    each.fields?.length ? h('dl', {}, each.fields.map((field) =>
      h('div', { class: field.inline ? 'inline' : '' }, h('dt', {}, text(field.name)), h('dd', {}, text(field.value))))) : null,
    picture(each.image, 'image') || null,
    footer ? h('small', {}, footer) : null);
  if (each.color) element.style.borderInlineStartColor = `#${each.color.toString(16).padStart(6, '0')}`;
  return element;
}
