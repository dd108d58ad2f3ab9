/** The sandbox's control API. A place is {guild, channel, member}, all ids. */

/** The sandbox said no, in a sentence for the member. */
export class Refusal extends Error {}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal('The sandbox does not answer. Is it still running?');
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(answer.error || `The sandbox answered ${response.status}.`);
  return answer;
}

export const world = () => ask('/sandbox/world');

export const commands = async (place) =>
  (await ask(`/sandbox/commands?${new URLSearchParams(place)}`)).commands;

/** Start an interaction; resolves to its id. */
export async function interact(place, body, files = []) {
  const payload = JSON.stringify({ ...place, ...body });
  let request = { body: payload, headers: { 'Content-Type': 'application/json' } };
  if (files.length) {
    const form = new FormData();
    form.append('payload_json', payload);
    files.forEach((file, index) => form.append(`files[${index}]`, file, file.name));
    request = { body: form };
  }
  return (await ask('/sandbox/interactions', { method: 'POST', ...request })).interaction_id;
}

const RETRY_MS = 2000;

/** Follow a place until `close()`: `on.event` for each event, `on.open` and `on.lost` besides. */
export function listen(place, on) {
  let source;
  let timer;
  const open = () => {
    source = new EventSource(`/sandbox/events?${new URLSearchParams(place)}`);
    source.onopen = () => on.open();
    source.onmessage = (message) => on.event(JSON.parse(message.data));
    source.onerror = () => {
      on.lost();
      // Chrome and Firefox retry a broken stream by themselves, but not an HTTP error.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    };
  };
  open();
  return { close: () => { clearTimeout(timer); source.close(); } };
}
