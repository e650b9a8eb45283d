/**
 * A producer that can be told to misbehave: tus in memory over mTLS, honest by default, one scripted act a request
 * where a test says so. It checks nothing; what is true about a producer is tested against the real ones.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server, type ServerOptions } from 'node:https';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Certificates } from './certificates.ts';
import { portOf } from './port.ts';

export interface StoredUpload {
  readonly length: number;
  readonly metadata: string;
  readonly chunks: Buffer[];
  offset: number;
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Last segment of the path. */
  readonly id: string;
  readonly upload: StoredUpload | undefined;
  /** What an honest producer does, without answering: a POST creates, a PATCH appends until its body ends. */
  readonly take: () => Promise<void>;
  readonly answer: (status: number, headers?: Record<string, string>, body?: string) => void;
  /** Takes and answers honestly. */
  readonly serve: () => Promise<void>;
}

export type Act = (exchange: Exchange) => void | Promise<void>;

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

const jsonType = { 'content-type': 'application/json' };

export class ScriptedProducer {
  readonly uploads = new Map<string, StoredUpload>();
  /** Requests in the order they came, those answered by an act included. */
  readonly seen: Seen[] = [];
  /** Bytes of PATCH bodies read so far. */
  bodyBytes = 0;
  receipts: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #acts = new Map<string, Act[]>();
  readonly #always = new Map<string, Act>();

  private constructor(options: ServerOptions) {
    this.#server = createServer(options, (request, response) => void this.#handle(request, response));
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    // Refused handshakes are what some tests provoke; the client's side of them is what is looked at.
    this.#server.on('tlsClientError', () => undefined);
  }

  static async start(certificates: Certificates, options: ServerOptions = {}): Promise<ScriptedProducer> {
    const producer = new ScriptedProducer({
      ...certificates.server,
      ca: certificates.authority.cert,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      ...options,
    });
    producer.#server.listen(0, '127.0.0.1');
    await once(producer.#server, 'listening');
    return producer;
  }

  get port(): number {
    return portOf(this.#server);
  }

  get url(): string {
    return `https://localhost:${this.port}/`;
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** The next request with this method is answered by `act`; several queue up. */
  next(method: string, ...acts: readonly Act[]): void {
    this.#acts.set(method, [...(this.#acts.get(method) ?? []), ...acts]);
  }

  /** Every request with this method that has no `next`. */
  always(method: string, act: Act): void {
    this.#always.set(method, act);
  }

  methods(): string[] {
    return this.seen.map(({ method }) => method);
  }

  content(id: string): Buffer {
    return Buffer.concat(this.uploads.get(id)?.chunks ?? []);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    this.seen.push({ method, path: url, headers });
    request.on('error', () => response.destroy());
    const act =
      this.#acts.get(method)?.shift() ?? this.#always.get(method) ?? ((exchange: Exchange) => exchange.serve());
    await act(this.#exchange(request, response));
  }

  #exchange(request: IncomingMessage, response: ServerResponse): Exchange {
    const id = decodeURIComponent(/([^/?]+)\/?(?:\?.*)?$/.exec(request.url ?? '')?.[1] ?? '');
    const upload = this.uploads.get(id);
    const answer = (status: number, headers: Record<string, string> = {}, body = '') => {
      response.writeHead(status, { 'tus-resumable': '1.0.0', ...headers });
      response.end(body);
    };
    const take = () => this.#take(request, id);
    const serve = async () => {
      await take();
      this.#answerHonestly(request, id, answer);
    };
    return { request, response, id, upload, take, answer, serve };
  }

  async #take(request: IncomingMessage, id: string): Promise<void> {
    const { method, headers, url = '' } = request;
    if (method === 'POST' && url.endsWith('files/')) {
      const metadata = String(headers['upload-metadata']);
      const parcelId = Buffer.from(/parcelId ([^,]+)/.exec(metadata)?.[1] ?? '', 'base64').toString();
      this.uploads.set(parcelId, { length: Number(headers['upload-length']), metadata, chunks: [], offset: 0 });
    }
    const upload = method === 'PATCH' ? this.uploads.get(id) : undefined;
    if (upload && Number(headers['upload-offset']) !== upload.offset) return;
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        upload?.chunks.push(chunk);
        this.bodyBytes += upload ? chunk.length : 0;
        if (upload) upload.offset += chunk.length;
      }
    } catch {
      // The client went away in the middle, as it does in half of the tests; what came is kept, as by any tus server.
    }
  }

  #answerHonestly(request: IncomingMessage, id: string, answer: Exchange['answer']): void {
    const { method = '', url = '', headers } = request;
    const upload = this.uploads.get(id);
    if (url.includes('/v1/')) return this.#answerApi(url, answer);
    if (method === 'POST') {
      const parcelId = [...this.uploads.keys()].at(-1) ?? '';
      return answer(201, { location: `/files/${encodeURIComponent(parcelId)}` });
    }
    if (method === 'DELETE') {
      this.uploads.delete(id);
      return answer(204, { 'kakehashi-void': 'atomic' });
    }
    if (method === 'OPTIONS') return answer(204, { 'tus-version': '1.0.0' });
    if (!upload) return answer(404);
    const state = { 'upload-offset': String(upload.offset), 'upload-length': String(upload.length) };
    if (method === 'HEAD') return answer(200, state);
    const from = Number(headers['upload-offset']);
    return upload.offset < from + Number(headers['content-length']) ? answer(409) : answer(204, state);
  }

  #answerApi(url: string, answer: Exchange['answer']): void {
    if (url.includes('/v1/health')) return answer(200, jsonType, '{"ok":true,"producer":"ldi"}');
    if (url.includes('/v1/hello')) {
      return answer(200, jsonType, '{"producer":"ldi","epoch":1,"sequence":4,"receiptSequence":7}');
    }
    if (url.includes('/v1/receipts')) return answer(200, jsonType, JSON.stringify({ receipts: this.receipts }));
    if (url.includes('/v1/retractions')) return answer(200, { 'content-type': 'application/jose' }, 'e30.e30.c2ln');
    return answer(200, jsonType, '{}');
  }
}
