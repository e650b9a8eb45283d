/**
 * The three parts of undici that are used, by themselves: its index also loads fetch, WebSocket, caches and mocks, 8 MB
 * that stay in memory for as long as the agent runs. The version is pinned, and every test of a link fails if a part
 * has moved.
 */
import type { Dispatcher } from 'undici';
import ask from 'undici/lib/api/api-request.js';

export { default as Agent } from 'undici/lib/dispatcher/agent.js';
export { default as Client } from 'undici/lib/dispatcher/client.js';

/** `Dispatcher.request`, which only the index gives its dispatchers. */
export function request(dispatcher: Dispatcher, options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
  return ask.call(dispatcher, options);
}
