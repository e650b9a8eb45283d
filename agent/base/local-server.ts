/**
 * HTTP for whoever sits at this machine: the console's reader and the hospital's own monitoring. It changes nothing and
 * asks for no password, so it answers on loopback only, GET and HEAD only, and only under this machine's own names: a
 * web page that points its name at 127.0.0.1 (DNS rebinding) still sends that name as the host.
 */
import assert from 'node:assert/strict';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import { ConnectorError, type ErrorCode, reasonOf } from '../model/errors.ts';
import { createServer } from './http.ts';
import { formatHostPort, type HostPort, isLoopback } from './options.ts';

/** Two people with a browser each, one Prometheus, and some that hang. */
const connectionsMax = 16;

/** From the connection to the end of the request, and between two packets of an answer. */
const requestMsMax = 5_000;

/** A browser sends about 1 KiB, with other pages' cookies for localhost (they are not told apart by port) some more. */
const headerBytesMax = 16_384;

/** A page names no longer path and query. */
const targetCharsMax = 256;

export interface Question {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
}

export interface Reply {
  readonly status: 200 | 400 | 404 | 405 | 421 | 503;
  readonly body: string;
  /** Default: plain text. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface LocalServerOptions {
  /** What `listen` fails with. */
  readonly unavailable: ErrorCode;
  readonly answer: (question: Question) => Reply;
}

export class LocalServer {
  readonly #options: LocalServerOptions;
  readonly #server: Server;

  constructor(options: LocalServerOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        maxHeaderSize: headerBytesMax,
        requestTimeout: requestMsMax,
        headersTimeout: requestMsMax,
        // Node looks every 30 s: so long one byte now and then would keep a connection.
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => send(response, answerTo(request, options.answer)),
    );
    this.#server.maxConnections = connectionsMax;
    this.#server.timeout = requestMsMax;
  }

  /** @throws ConnectorError `unavailable` - the port is taken, or the host is not this machine itself. */
  async listen({ host, port }: HostPort): Promise<{ readonly port: number }> {
    const address = formatHostPort({ host, port });
    const fail = (reason: string) => new ConnectorError(this.#options.unavailable, { address, reason });
    if (!isLoopback(host)) throw fail('it is not a loopback address');
    await new Promise<void>((resolve, reject) => {
      const refuse = (error: Error) => reject(fail(reasonOf(error)));
      this.#server.once('error', refuse).listen(port, host, () => {
        this.#server.off('error', refuse);
        resolve();
      });
    });
    const bound = this.#server.address();
    assert(typeof bound === 'object' && bound !== null);
    return { port: bound.port };
  }

  /** Harmless twice, and when it never listened. */
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

function answerTo({ method, url = '', headers }: IncomingMessage, answer: LocalServerOptions['answer']): Reply {
  const host = (headers.host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  if (!isLoopback(host)) return hostRefused();
  if (method !== 'GET' && method !== 'HEAD') return only('only GET and HEAD\n', 405, { Allow: 'GET, HEAD' });
  if (!url.startsWith('/') || url.length > targetCharsMax) return only('not a request of these pages\n', 400);
  const [path = '', query = ''] = url.split('?', 2);
  return answer({ path, query: new URLSearchParams(query), headers });
}

function only(body: string, status: Reply['status'], headers: Reply['headers'] = {}): Reply {
  return { status, body, headers };
}

/** Says nothing but how to ask rightly: whoever reads it may be a page from elsewhere. */
function hostRefused(): Reply {
  const { code, message, hint, ja } = new ConnectorError('HOST_REFUSED');
  return only(`${code}  ${message}\n${hint}\n${ja}\n`, 421);
}

/** Nothing is loaded from elsewhere, framed, sniffed, kept or told to the next page. */
const alwaysSent = {
  'Cache-Control': 'no-store',
  Connection: 'close',
  'Content-Security-Policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
} as const;

function send(response: ServerResponse, { status, body, type = 'text/plain; charset=utf-8', headers }: Reply): void {
  const length = Buffer.byteLength(body);
  response.writeHead(status, { ...alwaysSent, 'Content-Type': type, 'Content-Length': length, ...headers }).end(body);
}
