/**
 * Stands in front of the real producer under its certificate, passes everything on, and stalls an upload once, at the
 * worst moment. It counts what arrives, whatever it does with it.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request as httpsRequest, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { portOf } from '../producer/port.ts';

/**
 * Where an upload stalls. `announced`: the POST is not passed on. `middle`: after `atByte` of the body, which the
 * producer has got by then. `last-byte`: the producer has all but the last byte, and never gets it; `late-byte`: it
 * gets it when the sender has gone. `answer`: the producer has everything and has answered; the sender is not told.
 */
export interface Stall {
  readonly at: 'announced' | 'middle' | 'last-byte' | 'late-byte' | 'answer';
  readonly atByte?: number;
}

export interface StallingOptions {
  /** Folder of the producer's keys. */
  readonly producerKeys: string;
  /** What the hospital was given: it authenticates us there. */
  readonly clientFolder: string;
  readonly targetPort: number;
}

export class StallingProducer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #upstream: { port: number; ca: Buffer; cert: Buffer; key: Buffer };
  #stall: Stall | undefined;
  #reached = Promise.withResolvers<void>();
  /** Bodies of everything but uploads, as they arrived: hello, heartbeats, retractions. */
  readonly posted: { readonly path: string; readonly body: Buffer }[] = [];
  /** Bytes that have arrived of the body of the upload that stalls, or stalled last. */
  stalledBytes = 0;
  /** How many it was to have. */
  stalledLength = 0;
  /** The port it came from. */
  senderPort = 0;

  private constructor(options: StallingOptions) {
    const { producerKeys, clientFolder, targetPort } = options;
    const read = (folder: string, name: string) => readFileSync(join(folder, name));
    const ca = read(producerKeys, 'ca.pem');
    this.#upstream = {
      port: targetPort,
      ca,
      cert: read(clientFolder, 'client.pem'),
      key: read(clientFolder, 'client.key'),
    };
    const tls = { ca, cert: read(producerKeys, 'server.pem'), key: read(producerKeys, 'server.key') };
    this.#server = createServer({ ...tls, requestCert: true, minVersion: 'TLSv1.3' }, (request, response) => {
      this.#pass(request, response).catch(() => response.destroy());
    });
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(options: StallingOptions): Promise<StallingProducer> {
    const stalling = new StallingProducer(options);
    stalling.#server.listen(0, '127.0.0.1');
    await once(stalling.#server, 'listening');
    return stalling;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}/`;
  }

  get port(): number {
    return portOf(this.#server);
  }

  /** Stalls the next upload. Resolves when it has come to the place. */
  stallOnce(stall: Stall): Promise<void> {
    this.#stall = stall;
    this.stalledBytes = this.stalledLength = 0;
    this.#reached = Promise.withResolvers();
    return this.#reached.promise;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, headers } = request;
    const stall =
      method === 'PATCH' || (method === 'POST' && request.url?.startsWith('/files')) ? this.#stall : undefined;
    if (stall?.at === 'announced') return this.#hold(request);
    const upstream = httpsRequest({ ...this.#upstream, host: '127.0.0.1', path: request.url, method, headers });
    const answered = once(upstream, 'response') as Promise<[IncomingMessage]>;
    // Whoever waits for it is told; who has gone away does not care.
    answered.catch(() => undefined);
    if (method === 'PATCH') await this.#passBody(request, upstream, stall);
    else await this.#passPost(request, upstream);
    upstream.end();
    const [answer] = await answered;
    if (method === 'PATCH' && stall?.at === 'answer') await this.#hold(request);
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    for await (const chunk of answer) response.write(chunk);
    response.end();
  }

  async #passPost(request: IncomingMessage, upstream: ReturnType<typeof httpsRequest>): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    if (body.length > 0) this.posted.push({ path: request.url ?? '', body });
    upstream.write(body);
  }

  async #passBody(request: IncomingMessage, upstream: ReturnType<typeof httpsRequest>, stall?: Stall): Promise<void> {
    const length = Number(request.headers['content-length']);
    if (stall) this.stalledLength = length;
    let arrived = 0;
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        arrived += chunk.length;
        if (stall) this.stalledBytes = arrived;
        const isLast = arrived === length && (stall?.at === 'last-byte' || stall?.at === 'late-byte');
        upstream.write(isLast ? chunk.subarray(0, -1) : chunk);
        if (stall?.at === 'middle' && arrived >= (stall.atByte ?? 0)) this.#reach(request);
        if (!isLast) continue;
        await this.#hold(request);
        if (stall?.at === 'late-byte') return void upstream.write(chunk.subarray(-1));
        throw new Error('the last byte is not passed on');
      }
    } catch (error) {
      upstream.destroy();
      throw error;
    }
  }

  /** Resolves when the sender has gone. */
  async #hold(request: IncomingMessage): Promise<void> {
    this.#reach(request);
    if (!request.socket.closed) await once(request.socket, 'close');
  }

  #reach(request: IncomingMessage): void {
    this.senderPort = request.socket.remotePort ?? this.senderPort;
    this.#stall = undefined;
    this.#reached.resolve();
  }
}
