/**
 * The MLLP listener: accepts peers that may connect, as many as may, over TCP or TLS, and gives each a `Connection`.
 *
 * What a listener can hold in memory is `maxConnections` × (`maxMessage` + `inFlightBytesMax`), reached only when
 * every peer is in the middle of a message of the greatest size.
 */
import type { Socket } from 'node:net';
import { formatHostPort } from '../../base/options.ts';
import { ConnectorError, type ErrorCode } from '../../model/errors.ts';
import type { Probe, Source, SourceHost } from '../../model/ports.ts';
import { PeerServer, probeListening, type Refusal, type ServerCodes, type ServerOptions } from '../peer-server.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { Receiver, type ReceiverOptions } from './receive.ts';

export type ListenerOptions = ReceiverOptions & ConnectionOptions & ServerOptions;

const serverCodes: ServerCodes = {
  listen: 'HL7_LISTEN_FAILED',
  tls: 'HL7_TLS_UNUSABLE',
  unreachable: 'HL7_UNREACHABLE',
};

const refusalCodes: Readonly<Record<Refusal['why'], ErrorCode>> = {
  'not-allowed': 'HL7_PEER_REFUSED',
  'too-many': 'HL7_TOO_MANY_CONNECTIONS',
  tls: 'HL7_TLS_REFUSED',
};

/** How often the clocks of the connections are looked at; their limits are kept to this precision. */
const checkEveryMs = 1_000;

/** Ending in good order, before a stopping agent leaves its parts behind (`partsMsMax` in app.ts). */
export const stopMsMax = 7_000;

export class Hl7v2Source implements Source {
  readonly #options: ListenerOptions;
  readonly #host: SourceHost;
  readonly #receiver: Receiver;
  readonly #connections = new Set<Connection>();
  #server: PeerServer | undefined;
  #stopping: Promise<void> | undefined;
  #stopped = new AbortController();

  constructor(options: ListenerOptions, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    this.#receiver = new Receiver(options, host);
  }

  /** @throws ConnectorError HL7_LISTEN_FAILED, FILE_UNREADABLE, HL7_TLS_UNUSABLE */
  async listen(): Promise<{ readonly port: number }> {
    const server = await PeerServer.listen(this.#options, serverCodes, {
      connected: (socket) => this.#connected(socket),
      refused: (refusal) => this.#refused(refusal),
      failed: () => this.#host.report({ name: 'source.failed', source: this.#host.name, code: 'HL7_LISTEN_FAILED' }),
    });
    this.#server = server;
    this.#stopping = undefined;
    this.#stopped = new AbortController();
    void this.#watch(this.#stopped.signal);
    this.#host.report({ name: 'source.listening', source: this.#host.name, numbers: { port: server.port } });
    return { port: server.port };
  }

  /** Running: is it reached at its own address? Idle: could that address be listened on? */
  async probe(): Promise<Probe> {
    try {
      const reached = await probeListening(this.#options.listen, this.#server?.port, serverCodes);
      return { ok: true, peer: formatHostPort(reached) };
    } catch (error) {
      if (error instanceof ConnectorError) return { ok: false, error };
      throw error;
    }
  }

  /** Resolves when no connection is left: at the latest after `stopMsMax`, with what was still unanswered cut off. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    await this.#stopping;
  }

  async #stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    const closed = server.close();
    for (const connection of this.#connections) connection.finish('stopped');
    const cut = async () => {
      await this.#host.clock.sleep(stopMsMax, this.#stopped.signal);
      for (const connection of this.#connections) connection.destroy();
    };
    void cut();
    await closed;
    this.#stopped.abort();
    this.#server = undefined;
  }

  #connected(socket: Socket): void {
    const connection = new Connection(socket, this.#options, this.#receiver, this.#host);
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
    this.#host.report({ name: 'source.connected', source: this.#host.name });
  }

  async #watch(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      await this.#host.clock.sleep(checkEveryMs, stopped);
      for (const connection of this.#connections) connection.check();
    }
  }

  #refused(refusal: Refusal): void {
    const word = refusal.why === 'tls' ? refusal.word : refusal.why;
    const code = refusalCodes[refusal.why];
    this.#host.report({ name: 'source.connection-refused', source: this.#host.name, code, word });
  }
}
