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
 * file the command names, not sent through here.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { platform } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { ConnectorError, type ErrorCode, type ErrorDetails, errorTable, reasonOf } from '../model/errors.ts';

/** One frame either way: a status of a hundred sources is 50 kB. */
const frameCharsMax = 1024 * 1024;

/** Commands at work at once: a few people and a monitoring script. */
const connectionsMax = 32;

/** `sun_path` holds 108 bytes on Linux and 104 elsewhere; longer paths go through the folder's descriptor. */
const socketPathBytesMax = 100;

export type ControlArgs = Readonly<Record<string, unknown>>;

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

interface Reply {
  readonly id: number;
  readonly progress?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly code: string; readonly details: ErrorDetails };
}

export function controlPath(stateDir: string): string {
  return join(stateDir, 'control.sock');
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

/**
 * Asks the running agent and waits for its answer, however long that takes.
 *
 * @throws ConnectorError what the handler threw; CONTROL_UNREACHABLE when none runs; CONTROL_BROKEN when it stopped
 *   answering; CONTROL_REFUSED for a request it does not understand.
 */
export async function callControl(
  path: string,
  verb: string,
  args: ControlArgs = {},
  options: { onProgress?: (value: unknown) => void } = {},
): Promise<unknown> {
  const socket = await open(path);
  try {
    return await new Promise((resolve, reject) => {
      const broken = () => reject(new ConnectorError('CONTROL_BROKEN', { verb }));
      socket.on('error', broken).on('close', broken);
      readLines(
        socket,
        (line) => {
          const reply = parseJson(line) as Reply | undefined;
          if (!reply) broken();
          else if ('progress' in reply) options.onProgress?.(reply.progress);
          else if (reply.error) reject(errorOf(reply.error, verb));
          else resolve(reply.result);
        },
        { onTooLong: broken },
      );
      socket.write(`${JSON.stringify({ id: 1, verb, args })}\n`);
    });
  } finally {
    socket.destroy();
  }
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) =>
      reject(new ConnectorError('CONTROL_UNREACHABLE', { path, reason: reasonOf(cause) }, { cause }));
    let address: SocketAddress;
    try {
      address = socketAddress(path);
    } catch (cause) {
      return fail(cause);
    }
    const socket = connect(address.text);
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.off('error', fail);
      resolve(socket);
    });
    socket.once('connect', address.release).once('error', address.release);
  });
}

/** The same error as it was thrown over there, if this version knows it. */
function errorOf({ code, details }: { code: string; details: ErrorDetails }, verb: string): ConnectorError {
  return isErrorCode(code)
    ? new ConnectorError(code, details)
    : new ConnectorError('CONTROL_FAILED', { verb, reason: code });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

function refusal(id: number, reason: string): Reply {
  return { id, error: { code: 'CONTROL_REFUSED', details: { reason } } };
}

function readRequest(line: string): { id: number; verb: string; args: ControlArgs } | undefined {
  const { id, verb, args } = (parseJson(line) ?? {}) as Record<string, unknown>;
  const isRequest = typeof id === 'number' && typeof verb === 'string' && typeof args === 'object' && args !== null;
  return isRequest ? { id, verb, args: args as ControlArgs } : undefined;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** A client that has gone, or that reads nothing of what it asked for, is let go; the work itself is its handler's. */
function send(socket: Socket, reply: Reply): void {
  if (!socket.writable) return;
  const line = JSON.stringify(reply);
  const isFit = line.length <= frameCharsMax;
  socket.write(`${isFit ? line : JSON.stringify(refusal(reply.id, 'its answer is longer than a frame'))}\n`);
  if (socket.writableLength > 2 * frameCharsMax) socket.destroy();
}

function readLines(socket: Socket, onLine: (line: string) => void, options: { onTooLong: () => void }): void {
  let pending = '';
  let isOver = false;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    if (isOver) return;
    const lines = (pending + chunk).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) onLine(line);
    if (pending.length > frameCharsMax) {
      isOver = true;
      pending = '';
      options.onTooLong();
    }
  });
}

interface SocketAddress {
  readonly text: string;
  /** The descriptor behind `text`, if any, is needed until then. */
  readonly release: () => void;
}

function socketAddress(path: string): SocketAddress {
  const keep = () => undefined;
  if (platform() === 'win32') {
    // Windows has named pipes instead; their name is made from the path, so that two installations do not meet.
    return {
      text: `\\\\.\\pipe\\kakehashi-${createHash('sha256').update(path).digest('hex').slice(0, 32)}`,
      release: keep,
    };
  }
  if (Buffer.byteLength(path) <= socketPathBytesMax || platform() !== 'linux') return { text: path, release: keep };
  const folder = openSync(dirname(path), 'r');
  let isOpen = true;
  const release = () => {
    if (isOpen) closeSync(folder);
    isOpen = false;
  };
  return { text: `/proc/self/fd/${folder}/${basename(path)}`, release };
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
    (await open(path)).destroy();
  } catch (error) {
    const code = error instanceof ConnectorError ? error.details['reason'] : undefined;
    if (code === 'ECONNREFUSED') unlinkSync(path);
    else if (code !== 'ENOENT') throw error;
    return;
  }
  throw new ConnectorError('STATE_LOCKED', { path: dirname(path) });
}
