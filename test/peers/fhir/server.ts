/**
 * A FHIR R4 server that gives resources exactly as they were put in, byte for byte, in Bundles it puts together from
 * the pieces; and that misbehaves on request, as real ones were seen to.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Server, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { portOf } from '../producer/port.ts';

export interface StoredResource {
  readonly type: string;
  readonly id: string;
  readonly bytes: Buffer;
  /** Of its last change, as the server keeps it; what is in the bytes is the test's own affair. */
  readonly changedAt: number;
  /** FHIR id of the patient, for searches by patient. */
  readonly patient?: string;
  /** Clinical day, `YYYY-MM-DD`. */
  readonly day?: string;
}

/** A page before it is written. */
export interface Draft {
  entries: { readonly resource: Buffer; readonly mode?: string }[];
  next: string | undefined;
  total: number | undefined;
}

export interface Asked {
  readonly url: URL;
  readonly authorization: string | undefined;
}

export interface RawAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Close the connection after these bytes of the answer. */
  readonly cutAfter?: number;
}

export interface ServerOptions {
  /** What becomes of `_lastUpdated`: understood, ignored, or answered with 400. */
  readonly lastUpdated?: 'offered' | 'ignored' | 'refused';
  readonly total?: boolean;
  /** How a Bundle is written around its resources. */
  readonly layout?: 'compact' | 'pretty' | 'crlf' | 'bom';
  readonly gzip?: boolean;
  readonly fhirVersion?: string;
  readonly types?: readonly string[];
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
}

const defaultTypes = ['Patient', 'Observation', 'Condition'];

export class FhirServer {
  readonly #options: ServerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly resources: StoredResource[] = [];
  /** Every question that arrived. */
  readonly asked: Asked[] = [];
  /** The server's clock: its `Date` header. */
  now: number;
  /** Looked at before anything else; undefined answers as usual. */
  answer: ((asked: Asked, ordinal: number) => RawAnswer | 'silence' | undefined) | undefined;
  /** Changes a page before it is written. */
  edit: ((draft: Draft, asked: Asked) => void) | undefined;
  #port = 0;

  private constructor(options: ServerOptions, now: number) {
    this.#options = options;
    this.now = now;
    const handler = (request: IncomingMessage, response: ServerResponse) => this.#handle(request, response);
    const { tls } = options;
    this.#server = tls
      ? createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true }, handler)
      : createServer(handler);
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
    });
  }

  static async start(options: ServerOptions = {}, now = Date.parse('2026-11-23T10:15:30+09:00')): Promise<FhirServer> {
    const server = new FhirServer(options, now);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    server.#port = portOf(server.#server);
    return server;
  }

  get origin(): string {
    return `${this.#options.tls ? 'https://localhost' : 'http://127.0.0.1'}:${this.#port}`;
  }

  get url(): string {
    return `${this.origin}/fhir`;
  }

  /** Searches of one type, as they were asked. */
  searches(type: string): URL[] {
    return this.asked.map(({ url }) => url).filter(({ pathname }) => pathname === `/fhir/${type}`);
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.origin);
    const asked = { url, authorization: request.headers.authorization };
    this.asked.push(asked);
    response.setHeader('date', new Date(this.now).toUTCString());
    response.sendDate = false;
    const raw = this.answer?.(asked, this.asked.length);
    if (raw === 'silence') return;
    this.#send(response, raw ?? this.#usual(asked));
  }

  #send(response: ServerResponse, { status = 200, headers, body = '', cutAfter }: RawAnswer): void {
    const bytes = Buffer.from(body);
    const isPacked = this.#options.gzip === true && headers === undefined;
    const sent = isPacked ? gzipSync(bytes) : bytes;
    const packed = isPacked ? { 'content-encoding': 'gzip' } : {};
    response.writeHead(status, {
      'content-type': 'application/fhir+json;charset=UTF-8',
      'content-length': sent.length,
      ...packed,
      ...headers,
    });
    if (cutAfter === undefined) response.end(sent);
    else response.write(sent.subarray(0, cutAfter), () => response.destroy());
  }

  #usual(asked: Asked): RawAnswer {
    const path = asked.url.pathname.replace(/^\/fhir\//, '');
    if (path === 'metadata') return { body: this.#metadata() };
    const [type = '', id] = path.split('/');
    if (id !== undefined || !this.#types.includes(type)) return refusal(404, 'not-found');
    const isByChange = asked.url.searchParams.has('_lastUpdated');
    if (isByChange && this.#options.lastUpdated === 'refused') return refusal(400, 'not-supported');
    return { body: this.#search(type, asked) };
  }

  get #types(): readonly string[] {
    return this.#options.types ?? defaultTypes;
  }

  #metadata(): string {
    const searchParam = ['patient', 'date', 'recorded-date'].map((name) => ({ name, type: 'string' }));
    const resource = this.#types.map((type) => ({ type, interaction: [{ code: 'search-type' }], searchParam }));
    const fhirVersion = this.#options.fhirVersion ?? '4.0.1';
    return JSON.stringify({ resourceType: 'CapabilityStatement', fhirVersion, rest: [{ mode: 'server', resource }] });
  }

  #search(type: string, asked: Asked): Buffer {
    const { searchParams } = asked.url;
    const found = this.resources
      .filter((resource) => resource.type === type && this.#matches(resource, searchParams))
      .toSorted((a, b) => a.changedAt - b.changedAt);
    const count = Number(searchParams.get('_count') ?? 10);
    const from = Number(searchParams.get('_page') ?? 0) * count;
    const next = new URL(asked.url);
    next.searchParams.set('_page', String(from / count + 1));
    const draft: Draft = {
      entries: found.slice(from, from + count).map(({ bytes }) => ({ resource: bytes, mode: 'match' })),
      next: from + count < found.length ? next.href : undefined,
      total: this.#options.total === false ? undefined : found.length,
    };
    this.edit?.(draft, asked);
    return this.#write(draft);
  }

  #matches(resource: StoredResource, query: URLSearchParams): boolean {
    const patient = query.get('patient');
    if (patient !== null && patient !== `Patient/${resource.patient}`) return false;
    const day = query.get('date') ?? query.get('recorded-date');
    if (day !== null && (resource.day ?? '9999') < day.replace('ge', '')) return false;
    if (this.#options.lastUpdated === 'ignored') return true;
    return query.getAll('_lastUpdated').every((bound) => {
      const at = Date.parse(bound.slice(2));
      return bound.startsWith('ge') ? resource.changedAt >= at : resource.changedAt < at;
    });
  }

  #write({ entries, next, total }: Draft): Buffer {
    const layout = this.#options.layout ?? 'compact';
    const line = { compact: '', pretty: '\n  ', crlf: '\r\n\t', bom: '' }[layout];
    const pieces: (string | Buffer)[] = [layout === 'bom' ? '\ufeff' : '', '{', line, '"resourceType":"Bundle",', line];
    pieces.push('"type":"searchset",', line, total === undefined ? '' : `"total":${total},`, line);
    if (next !== undefined) pieces.push(`"link":[{"relation":"next","url":${JSON.stringify(next)}}],`, line);
    pieces.push('"entry":[');
    for (const [index, { resource, mode }] of entries.entries()) {
      pieces.push(index === 0 ? line : `,${line}`, '{"fullUrl":"urn:x","resource":', line, resource);
      pieces.push(mode === undefined ? '' : `,"search":{"mode":"${mode}"}`, '}');
    }
    pieces.push(line, ']', line, '}', line);
    return Buffer.concat(pieces.map((piece) => Buffer.from(piece)));
  }
}

/** As servers word it, with a patient's name in the diagnostics, which must be repeated nowhere. */
export function refusal(status: number, code: string): RawAnswer {
  const issue = [{ severity: 'error', code, diagnostics: 'Patient 架橋 太郎 (0012345) cannot be searched' }];
  return { status, body: JSON.stringify({ resourceType: 'OperationOutcome', issue }) };
}
