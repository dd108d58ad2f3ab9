/** The page: where the member is, and the wires between server, messages and composer. */

import * as api from './api.js';
import { Composer } from './composer.js';
import { h, paintAvatar } from './dom.js';
import { tick } from './markdown.js';
import { MessageLog } from './messages.js';
import { openModal } from './modal.js';

const $ = (id) => document.getElementById(id);
const MESSAGE_COMMAND = 3;
const BOT_CHECK_MS = 3000;
const EXAMPLES = [
  '/video prompt:a red fox in the snow aspect:9:16 duration:5s',
  '/video prompt:a paper boat on a rainy street at night aspect:16:9 duration:5s',
];

let world;
let place = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
let commands = [];
let stream;
let seen; // the ids of a history that is arriving

const guild = () => named(world.guilds, place.guild);
const named = (list, idOrName) => list.find((each) => each.id === idOrName || each.name === idOrName);
const memberName = (id) => {
  const member = world.guilds.flatMap((each) => each.members).find((each) => each.id === id);
  return member ? member.display_name || member.name : 'somebody';
};
const names = {
  user: memberName,
  channel: (id) => named(world.guilds.flatMap((each) => each.channels), id)?.name || 'somewhere',
  members: () => guild().members.map((each) => ({ label: each.display_name || each.name, value: each.id })),
  channels: () => guild().channels.map((each) => ({ label: `#${each.name}`, value: each.id })),
};

const log = new MessageLog($('log'), $('messages'), {
  names,
  me: () => place.member,
  press: (message, component, values) =>
    api.interact(place, { type: 'component', message: message.id, custom_id: component.custom_id, values }),
  runOn: async (message, command) => {
    const id = await api.interact(place, { type: 'command', command, target_message: message.id, options: {} });
    log.await(id, me(), command);
  },
  messageCommands: () => commands.filter((command) => command.type === MESSAGE_COMMAND),
});

const composer = new Composer(async (command, options, files) => {
  const id = await api.interact(place, { type: 'command', command: command.name, options }, files);
  log.await(id, me(), command.name);
});

const me = () => named(guild().members, place.member);

// Where the member is -----------------------------------------------------------------------------

/** Go to a place; what is missing or unknown falls back to the first of its kind. */
async function go(change) {
  place = { ...place, ...change };
  const here = guild() || world.guilds[0];
  const people = here.members.filter((each) => !each.bot);
  place.guild = here.id;
  place.channel = (named(here.channels, place.channel) || here.channels[0]).id;
  place.member = (named(people, place.member) || named(people, 'alice') || people[0]).id;
  history.replaceState(null, '', `#${new URLSearchParams(place)}`);
  paintPlaces(here, people);
  composer.guild = here;
  composer.cancel();
  log.clear();
  listen();
  await loadCommands();
  composer.focus();
}

function paintPlaces(here, people) {
  const { name } = named(here.channels, place.channel);
  const entry = (properties, current, ...label) =>
    h('button', { type: 'button', 'aria-current': current && 'page', ...properties }, ...label);
  $('guilds').replaceChildren(...world.guilds.map((each) =>
    entry({ title: each.name, onclick: () => go({ guild: each.id }) }, each === here, initials(each.name))));
  $('guild-name').textContent = here.name;
  $('channel-list').replaceChildren(...here.channels.map((each) =>
    entry({ onclick: () => go({ channel: each.id }) }, each.id === place.channel, h('span', { 'aria-hidden': 'true' }, '# '), each.name)));
  $('member').replaceChildren(...people.map((each) =>
    h('option', { value: each.id, selected: each.id === place.member }, each.display_name || each.name)));
  paintAvatar($('your-avatar'), place.member, memberName(place.member));
  $('channel-name').textContent = `# ${name}`;
  $('text').placeholder = `Message #${name} — type / for commands`;
  document.title = `#${name} · Dailies sandbox`;
  showMenu(false);
}

const initials = (name) => name.split(/\s+/).map((word) => word[0]).join('').slice(0, 3);

function paintBot() {
  const { name, connected } = world.bot;
  $('bot').textContent = connected ? `${name} is online` : 'No bot is connected: the sandbox restarts its own; with serve, start yours';
  $('bot').classList.toggle('online', connected);
}

function paintWelcome() {
  const known = new Set(commands.map((command) => command.name));
  const examples = EXAMPLES.filter((text) => known.has(text.slice(1).split(' ')[0]));
  const button = (text) => h('li', {}, h('button', { type: 'button', class: 'example', onclick: () => composer.fill(text) }, text));
  $('welcome').replaceChildren(
    h('h2', {}, `Welcome to ${$('channel-name').textContent.replace(' ', '')}`),
    h('p', {}, 'This is a sandbox: a real bot, an imitated Discord. No account, no key, and nothing here costs anything.'),
    h('p', {}, 'Type ', h('kbd', {}, examples.length ? '/video' : '/'), ' below', examples.length ? ', or start with one of these and press Enter:' : ' to see what the bot can do.'),
    h('ul', {}, examples.map(button)),
    h('p', {}, `The video service is ${world.speed} times as fast here as the real one; `, h('kbd', {}, '--speed'), ' changes that.'),
  );
}

async function loadCommands() {
  commands = await api.commands(place).catch(() => []);
  composer.setCommands(commands);
  paintWelcome();
}

async function loadWorld() {
  world = await api.world();
  paintBot();
}

// What happens there ------------------------------------------------------------------------------

function listen() {
  stream?.close();
  stream = api.listen(place, {
    open: () => {
      if (!$('lost').hidden) receive.commands(); // it may be another sandbox by now
      $('lost').hidden = true;
      seen = new Set();
    },
    lost: () => { $('lost').hidden = false; },
    event: (event) => receive[event.event]?.(event),
  });
}

const receive = {
  create: (event) => { if (event.history) seen.add(event.message.id); log.show(event); },
  update: (event) => log.show(event),
  delete: ({ message, interaction_id: cause }) => { log.settle(cause); log.remove(message.id); },
  ready: () => log.keepOnly(seen),
  failed: ({ interaction_id: cause, error }) => log.fail(cause, error),
  commands: () => { loadWorld().catch(() => {}); loadCommands(); },
  modal: ({ interaction_id: cause, modal }) => {
    log.settle(cause);
    openModal($('modal'), modal, names, (fields) => api.interact(place, { type: 'modal', interaction: cause, fields }));
  },
};

// The page itself ---------------------------------------------------------------------------------

function showMenu(open) {
  document.body.classList.toggle('menu-open', open);
  $('menu').setAttribute('aria-expanded', String(open));
}

$('menu').addEventListener('click', () => showMenu(!document.body.classList.contains('menu-open')));
$('log').addEventListener('click', () => showMenu(false));
$('member').addEventListener('change', (event) => go({ member: event.target.value }));

// Discord's links to messages lead to the sandbox's own.
document.addEventListener('click', async (event) => {
  const address = event.target.closest?.('a')?.href || '';
  const found = address.match(/^https:\/\/discord\.com\/channels\/(\d+)\/(\d+)(?:\/(\d+))?$/);
  if (!found) return;
  event.preventDefault();
  const [, guildId, channel, message] = found;
  if (guildId !== place.guild || channel !== place.channel) await go({ guild: guildId, channel });
  log.reveal(message);
});

// Typing anywhere writes into the composer, as in Discord.
document.addEventListener('keydown', (event) => {
  const taken = document.activeElement.matches('input, textarea, select, video') || $('modal').open;
  const printable = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
  if (!taken && printable && event.key !== ' ') composer.focus();
});
$('modal').addEventListener('close', () => composer.focus());

async function start() {
  try {
    await loadWorld();
  } catch {
    $('lost').hidden = false;
    setTimeout(start, BOT_CHECK_MS);
    return;
  }
  await go({});
  setInterval(tick, 1000);
  setInterval(() => loadWorld().catch(() => {}), BOT_CHECK_MS);
}

start();
