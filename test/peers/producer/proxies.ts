/**
 * What stands between a hospital and a producer: a line that breaks, a CONNECT proxy that wants a password, and one
 * that opens TLS.
 */
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { systemClock } from '../../../agent/base/clock.ts';
import type { Pair } from './certificates.ts';
import { portOf } from './port.ts';

/** Numbers in [0, 1) from a seed (mulberry32), so that a failing run can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Server with its sockets, so that closing it leaves nothing behind. */
class Peer {
  readonly sockets = new Set<Socket>();
  readonly server: Server;

  constructor(server: Server) {
    this.server = server;
    server.on('connection', (socket: Socket) => this.track(socket));
  }

  track(socket: Socket): Socket {
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
    // Broken connections are this peer's trade.
    socket.on('error', () => undefined);
    return socket;
  }

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return portOf(this.server);
  }

  async close(): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

export interface ChaosOptions {
  readonly targetPort: number;
  readonly cuts: number;
  /** Mean bytes between two cuts. */
  readonly everyBytes: number;
  readonly random: () => number;
}

/** What went before most cuts has this long to be read: a reset throws away what still lies in the receiver's socket. */
const arriveMs = 30;

/** A line that breaks `cuts` times: by RST, by FIN within a TLS record, or while the answer travels. */
export class ChaosProxy {
  readonly #peer: Peer;
  readonly #options: ChaosOptions;
  port = 0;
  cutsDone = 0;
  /** Bytes that passed towards the producer. */
  bytesUp = 0;

  private constructor(options: ChaosOptions) {
    this.#options = options;
    this.#peer = new Peer(createServer((client) => this.#pass(client)));
  }

  static async start(options: ChaosOptions): Promise<ChaosProxy> {
    const proxy = new ChaosProxy(options);
    proxy.port = await proxy.#peer.listen();
    return proxy;
  }

  close(): Promise<void> {
    return this.#peer.close();
  }

  #pass(client: Socket): void {
    const { random, everyBytes } = this.#options;
    const server = this.#peer.track(connect(this.#options.targetPort, '127.0.0.1'));
    let left = this.#mayCut() ? 2000 + Math.floor(random() * 2 * everyBytes) : Number.POSITIVE_INFINITY;
    // Some connections also lose an answer, be it of the handshake, of HEAD or of POST.
    let answersLeft = random() < 0.3 ? 1 + Math.floor(random() * 8) : Number.POSITIVE_INFINITY;
    client.on('data', (chunk: Buffer) => {
      this.bytesUp += chunk.length;
      left -= chunk.length;
      if (left <= 0 && this.#takeCut()) {
        void this.#cutOnceArrived(client, server, chunk);
      } else if (!server.write(chunk)) {
        client.pause();
        server.once('drain', () => client.resume());
      }
    });
    server.on('data', (chunk: Buffer) => {
      answersLeft -= 1;
      if (answersLeft <= 0 && this.#takeCut()) this.#cut(server, client, chunk);
      else client.write(chunk);
    });
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
  }

  #mayCut(): boolean {
    return this.cutsDone < this.#options.cuts;
  }

  #takeCut(): boolean {
    if (!this.#mayCut()) return false;
    this.cutsDone += 1;
    return true;
  }

  async #cutOnceArrived(from: Socket, to: Socket, chunk: Buffer): Promise<void> {
    from.removeAllListeners('data');
    if (this.#options.random() < 0.8) await systemClock.sleep(arriveMs);
    this.#cut(from, to, chunk);
  }

  #cut(from: Socket, to: Socket, chunk: Buffer): void {
    const { random } = this.#options;
    from.removeAllListeners('data');
    if (random() < 0.5) {
      from.resetAndDestroy();
      to.resetAndDestroy();
    } else {
      to.end(chunk.subarray(0, Math.floor(random() * chunk.length)));
      from.destroy();
    }
  }
}

export interface ConnectProxyOptions {
  /** `user:password`; without it anybody may pass. */
  readonly credentials?: string;
  /** Answer to every CONNECT, instead of connecting. */
  readonly refuseWith?: number;
  /** Ends TLS here, with a certificate of its own. */
  readonly inspectWith?: Pair;
  /** Accepts the connection and never answers. */
  readonly isSilent?: boolean;
}

export class ConnectProxy {
  readonly #peer: Peer;
  port = 0;
  /** Targets asked for. */
  readonly asked: string[] = [];

  private constructor(options: ConnectProxyOptions) {
    const http = createHttpServer();
    this.#peer = new Peer(http);
    http.on('connect', (request: IncomingMessage, client: Socket) => {
      this.asked.push(request.url ?? '');
      if (options.isSilent) return;
      const given = request.headers['proxy-authorization'];
      const wanted = options.credentials && `Basic ${Buffer.from(options.credentials).toString('base64')}`;
      if (wanted && given !== wanted) {
        client.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="proxy"\r\n\r\n');
      } else if (options.refuseWith) client.end(`HTTP/1.1 ${options.refuseWith} No\r\ncontent-length: 0\r\n\r\n`);
      else if (options.inspectWith) this.#inspect(client, options.inspectWith);
      else this.#tunnel(client, Number(request.url?.split(':')[1]));
    });
  }

  static async start(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
    const proxy = new ConnectProxy(options);
    proxy.port = await proxy.#peer.listen();
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  close(): Promise<void> {
    return this.#peer.close();
  }

  #tunnel(client: Socket, port: number): void {
    const server = this.#peer.track(
      connect(port, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        client.pipe(server).pipe(client);
      }),
    );
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
  }

  #inspect(client: Socket, pair: Pair): void {
    const tls = createTlsServer({ ...pair, minVersion: 'TLSv1.3' });
    tls.on('tlsClientError', () => client.destroy());
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    tls.emit('connection', client);
  }
}
