/** Reading a command from text, and its options from what stands in their fields. */

const [SUB_COMMAND, SUB_COMMAND_GROUP, STRING, INTEGER, BOOLEAN, USER, CHANNEL] = [1, 2, 3, 4, 5, 6, 7];
const [MENTIONABLE, NUMBER] = [9, 10];
export const ATTACHMENT = 11;

/** Every command that can be typed, sub-commands by their full name: {name, description, options}. */
export function typeable(commands, prefix = '') {
  return commands.flatMap((command) => {
    const name = prefix + command.name;
    const options = command.options || [];
    const nested = options.filter(({ type }) => type === SUB_COMMAND || type === SUB_COMMAND_GROUP);
    if (nested.length) return typeable(nested, `${name} `);
    return [{ name, description: command.description, options }];
  });
}

/** Find the command that `text` begins with: {command, rest}, or undefined while it is incomplete. */
export function matchCommand(commands, text) {
  const typed = `${text.replace(/^\s*\//, '').replace(/\s+/g, ' ')}`;
  const found = commands.find(({ name }) => typed.toLowerCase().startsWith(`${name} `));
  return found && { command: found, rest: typed.slice(found.name.length + 1) };
}

/** Split `aspect:9:16 duration:5s` at the options' names: {lead, named: [[option, text], …]}. */
export function splitAtNames(options, text) {
  const named = options.filter((option) => option.type !== ATTACHMENT);
  const names = named.map((option) => option.name).sort((a, b) => b.length - a.length);
  if (!names.length) return { lead: text, named: [] };
  const pieces = text.split(new RegExp(`(?:^|(?<=\\s))(${names.join('|')}):`));
  const found = [];
  for (let at = 1; at < pieces.length; at += 2) {
    found.push([named.find((option) => option.name === pieces[at]), pieces[at + 1].trimStart()]);
  }
  return { lead: pieces[0], named: found };
}

/** What may be chosen for an option, or null where anything may be typed. */
export function choices(option, guild) {
  const people = () => guild.members.map((each) => ({ name: each.name, value: each.id, detail: each.display_name }));
  if (option.choices?.length) return option.choices;
  if (option.type === BOOLEAN) return [{ name: 'True', value: true }, { name: 'False', value: false }];
  if (option.type === USER || option.type === MENTIONABLE) return people();
  if (option.type === CHANNEL) return guild.channels.map((each) => ({ name: each.name, value: each.id }));
  return null;
}

/** The choice that a text means, by name or value. */
export const chosen = (offered, text) => offered.find((choice) =>
  [choice.name, String(choice.value)].some((each) => each.toLowerCase() === text.toLowerCase()));

/** Turn a field's text into the option's value; throws an Error whose message is for the member. */
export function convert(option, text, guild) {
  const offered = choices(option, guild);
  if (offered) return must(chosen(offered, text), 'Choose one from the list.').value;
  if (option.type === INTEGER || option.type === NUMBER) return number(option, text);
  if (option.type !== STRING) return text;
  const { min_length: shortest = 0, max_length: longest = 6000 } = option;
  must(text.length >= shortest, `Use at least ${shortest} characters.`);
  must(text.length <= longest, `Use at most ${longest} characters; these are ${text.length}.`);
  return text;
}

function number(option, text) {
  const value = Number(text);
  const whole = option.type === INTEGER;
  must(whole ? Number.isInteger(value) : Number.isFinite(value), `Enter a ${whole ? 'whole ' : ''}number.`);
  must(value >= (option.min_value ?? -Infinity), `The smallest is ${option.min_value}.`);
  must(value <= (option.max_value ?? Infinity), `The largest is ${option.max_value}.`);
  return value;
}

function must(condition, sentence) {
  if (!condition) throw new Error(sentence);
  return condition;
}
