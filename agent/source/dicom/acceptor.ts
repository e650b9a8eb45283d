/**
 * The acceptor: every association we serve, as many as may be, and no more of one AE title than may be.
 *
 * In memory an association holds at most `readAheadBytesMax`, one small instance, and the frame being sealed: 3 MiB.
 */
import type { Socket } from 'node:net';
import type { ErrorCode } from '../../model/errors.ts';
import type { SourceHost } from '../../model/ports.ts';
import { Association, type AssociationOptions } from './association.ts';
import { PeerServer, type Refusal, type ServerCodes, type ServerOptions } from '../peer-server.ts';
import type { InstanceStore } from './store.ts';

export interface AcceptorOptions extends AssociationOptions, Omit<ServerOptions, 'connectionsMax'> {
  readonly associationsMax: number;
  readonly associationsMaxPerAe: number;
}

/** How often the clocks of the associations are looked at; their limits are kept to this precision. */
const checkEveryMs = 1_000;

/** Ending in good order, before a stopping agent leaves its parts behind (`partsMsMax` in app.ts). */
export const stopMsMax = 7_000;

/** Connections beyond the limit that are still told so politely; the next is dropped. */
const rejectedMax = 16;

export class DicomAcceptor {
  readonly #options: AcceptorOptions;
  readonly #host: SourceHost;
  readonly #store: InstanceStore;
  readonly #associations = new Set<Association>();
  readonly #serving = new Set<Promise<void>>();
  #stopped = new AbortController();
  #server: PeerServer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: AcceptorOptions, host: SourceHost, store: InstanceStore) {
    this.#options = options;
    this.#host = host;
    this.#store = store;
  }

  /** The port bound; undefined while it does not listen. */
  get port(): number | undefined {
    return this.#server?.port;
  }

  /** @throws ConnectorError DICOM_LISTEN_FAILED, FILE_UNREADABLE, DICOM_TLS_UNUSABLE */
  async listen(): Promise<{ readonly port: number }> {
    const { listen, allow, tls, associationsMax } = this.#options;
    const connectionsMax = associationsMax + rejectedMax;
    const server = await PeerServer.listen({ listen, allow, tls, connectionsMax }, serverCodes, {
      connected: (socket) => this.#connected(socket),
      refused: (refusal) => this.#refused(refusal),
      failed: () => this.#host.report({ name: 'source.failed', source: this.#host.name, code: 'DICOM_LISTEN_FAILED' }),
    });
    this.#server = server;
    this.#stopping = undefined;
    this.#stopped = new AbortController();
    void this.#watch(this.#stopped.signal);
    this.#host.report({ name: 'source.listening', source: this.#host.name, numbers: { port: server.port } });
    return { port: server.port };
  }

  /** Resolves when no association is left: at the latest after `stopMsMax`, with what was unanswered cut off. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    await this.#stopping;
  }

  async #stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    const done = new AbortController();
    for (const association of this.#associations) association.finish();
    const cut = async () => {
      await this.#host.clock.sleep(stopMsMax, done.signal);
      for (const association of this.#associations) association.destroy();
    };
    void cut();
    await server.close();
    done.abort();
    // A commit may outlive its socket; what it takes is taken before we say that nothing is.
    await Promise.all(this.#serving);
    this.#stopped.abort();
    this.#server = undefined;
  }

  #connected(socket: Socket): void {
    const admit = (callingAe: string) => this.#admits(callingAe);
    const association = new Association(socket, this.#options, this.#host, { admit, store: this.#store });
    this.#associations.add(association);
    socket.once('close', () => this.#associations.delete(association));
    const serving = association.serve();
    this.#serving.add(serving);
    void serving.then(() => this.#serving.delete(serving));
  }

  #admits(callingAe: string): boolean {
    const { associationsMax, associationsMaxPerAe } = this.#options;
    const admitted = [...this.#associations].filter((association) => association.callingAe !== undefined);
    const ofThisAe = admitted.filter((association) => association.callingAe === callingAe);
    return admitted.length < associationsMax && ofThisAe.length < associationsMaxPerAe;
  }

  async #watch(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      await this.#host.clock.sleep(checkEveryMs, stopped);
      for (const association of this.#associations) association.check();
    }
  }

  #refused(refusal: Refusal): void {
    const code = refusalCodes[refusal.why];
    const word = refusal.why === 'tls' ? refusal.word : refusal.why;
    this.#host.report({ name: 'source.connection-refused', source: this.#host.name, code, word });
  }
}

export const serverCodes: ServerCodes = {
  listen: 'DICOM_LISTEN_FAILED',
  tls: 'DICOM_TLS_UNUSABLE',
  unreachable: 'DICOM_UNREACHABLE',
};

const refusalCodes: Readonly<Record<Refusal['why'], ErrorCode>> = {
  'not-allowed': 'DICOM_PEER_REFUSED',
  'too-many': 'DICOM_TOO_MANY_ASSOCIATIONS',
  tls: 'DICOM_TLS_REFUSED',
};
