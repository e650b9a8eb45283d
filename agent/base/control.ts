/**
 * How a command talks to the agent that runs: a unix socket `control.sock` in the state folder, mode 0600, so that
 * whoever may read the state may give orders, and nobody else. One line of JSON a frame:
 *
 * ```
 * client → {"id":1,"verb":"status","args":{…}}
 * server → {"id":1,"progress":…}            any number of times
 *          {"id":1,"result":…}              or
 *          {"id":1,"error":{"code":"STATE_LOCKED","details":{…}}}
 * ```
 * The client closing the connection aborts what it asked for. What is larger than a frame (an export) is written to a
 * file the command names, not sent through here. The command's side is `control/client.ts`.
 */
import { unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { type SocketAddress, socketAddress } from './control/address.ts';
import { openControl } from './control/client.ts';
import { type ControlArgs, frameCharsMax, parseJson, readLines, refusal, type Reply, send } from './control/frames.ts';

/** Commands at work at once: a few people and a monitoring script. */
const connectionsMax = 32;

export interface ControlCall {
  readonly args: ControlArgs;
  /** Sends one frame of progress; any JSON value. */
  readonly progress: (value: unknown) => void;
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
}

/** Answers one verb. Its result is sent as JSON; a ConnectorError arrives at the client as the same error. */
export type ControlHandler = (call: ControlCall) => unknown;

export interface ControlServerOptions {
  readonly handlers: Readonly<Record<string, ControlHandler>>;
  /** Told of what a handler threw that was not a ConnectorError: a defect. The client gets CONTROL_FAILED. */
  readonly onDefect: (error: unknown) => void;
}

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #address: SocketAddress | undefined;

  private constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = connectionsMax;
  }

  /**
   * Begins to answer. A socket file left by a crash is replaced; the caller holds the state's lock.
   *
   * @throws ConnectorError STATE_LOCKED when another agent answers there.
   */
  static async listen(path: string, options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    await removeStale(path);
    server.#address = socketAddress(path);
    await bind(server.#server, server.#address.text);
    return server;
  }

  /** No new requests; those at work are aborted. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.#address?.release();
  }

  #serve(socket: Socket): void {
    const gone = new AbortController();
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#sockets.delete(socket);
      gone.abort();
    });
    readLines(socket, (line) => this.#answer(socket, line, gone.signal), {
      onTooLong: () => {
        send(socket, refusal(0, `a request is at most ${frameCharsMax} characters`));
        socket.end();
      },
    });
  }

  #answer(socket: Socket, line: string, signal: AbortSignal): void {
    const request = readRequest(line);
    if (!request) return send(socket, refusal(0, 'it is not a request'));
    const { id, verb, args } = request;
    const handler = Object.hasOwn(this.#options.handlers, verb) ? this.#options.handlers[verb] : undefined;
    if (!handler) return send(socket, refusal(id, `it does not know the command ${JSON.stringify(verb)}`));
    const progress = (value: unknown) => send(socket, { id, progress: value ?? null });
    void this.#run(handler, { args, progress, signal }, { id, verb }).then((reply) => send(socket, reply));
  }

  async #run(handler: ControlHandler, call: ControlCall, request: { id: number; verb: string }): Promise<Reply> {
    const { id, verb } = request;
    try {
      return { id, result: (await handler(call)) ?? null };
    } catch (error) {
      if (error instanceof ConnectorError) return { id, error: { code: error.code, details: error.details } };
      this.#options.onDefect(error);
      return { id, error: { code: 'CONTROL_FAILED', details: { verb, reason: reasonOf(error) } } };
    }
  }
}

function readRequest(line: string): { id: number; verb: string; args: ControlArgs } | undefined {
  const { id, verb, args } = (parseJson(line) ?? {}) as Record<string, unknown>;
  const isRequest = typeof id === 'number' && typeof verb === 'string' && typeof args === 'object' && args !== null;
  return isRequest ? { id, verb, args: args as ControlArgs } : undefined;
}

function bind(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', resolve);
    // The file is made inside this call; under the mask it is never, not for a moment, open to others.
    const mask = process.umask(0o177);
    try {
      server.listen(address);
    } finally {
      process.umask(mask);
    }
  });
}

/** Removes a socket file that nobody answers at. */
async function removeStale(path: string): Promise<void> {
  try {
    (await openControl(path)).destroy();
  } catch (error) {
    const code = error instanceof ConnectorError ? error.details['reason'] : undefined;
    if (code === 'ECONNREFUSED') unlinkSync(path);
    else if (code !== 'ENOENT') throw error;
    return;
  }
  throw new ConnectorError('STATE_LOCKED', { path: dirname(path) });
}
