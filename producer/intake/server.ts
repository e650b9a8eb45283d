/**
 * The door: TLS 1.3 with a client certificate of our own authority, one table of routes, and bounds on everything a
 * connection can hold. Who is calling is the certificate's CN and nothing else; a request can only ever name what
 * belongs to that facility, so there is no way to ask for another's.
 */
import assert from 'node:assert';
import { constants } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type PeerCertificate, TLSSocket } from 'node:tls';
import { ConnectorError, reasonOf } from '../../agent/model/errors.ts';
import type { Instant } from '../../agent/model/record.ts';
import { facilityCode } from '../keys/shapes.ts';
import { type Answer, type Exchange, refusedAnswer, send } from './exchange.ts';
import { type Handling, handlers, offsetHeader } from './handlers.ts';
import { refusal, refusalOf } from './refusals.ts';
import type { Revocations } from './revocations.ts';
import { findRoute, type RouteName } from './routes.ts';

export interface ServerParts {
  readonly tls: { readonly ca: string; readonly certificate: string; readonly key: string };
  readonly revocations: Revocations;
  readonly handling: Handling;
}

/** What a request in progress is given when the intake stops; the service manager waits ten seconds in all. */
const stopMs = 3000;

interface Peer {
  readonly agent: string;
  readonly serial: string;
  readonly notAfter: Instant;
}

export class IntakeServer {
  readonly #parts: ServerParts;
  readonly #server: Server;
  /** Read once a connection: parsing a certificate costs more than a small request. */
  readonly #peers = new WeakMap<TLSSocket, Peer>();
  readonly #running = new Map<string, number>();
  readonly #pending = new Set<Promise<void>>();
  #isStopping = false;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    const { limits } = parts.handling;
    this.#server = createServer(
      {
        ca: parts.tls.ca,
        cert: parts.tls.certificate,
        key: parts.tls.key,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.3',
        // A resumed session is not checked against the certificate again, so there is nothing to resume.
        secureOptions: constants.SSL_OP_NO_TICKET,
        handshakeTimeout: limits.handshakeMs,
        headersTimeout: limits.headersMs,
        requestTimeout: limits.requestMs,
        connectionsCheckingInterval: Math.min(limits.headersMs, 5000),
        maxHeaderSize: limits.headerBytes,
        highWaterMark: 1024 * 1024,
      },
      (request, response) => this.#serve(request, response),
    );
    this.#server.maxConnections = limits.connections;
    this.#server.on('tlsClientError', (error) => {
      parts.handling.report({ name: 'intake.refused', word: tlsWord(error) });
    });
  }

  /** Resolves with the port. @throws ConnectorError INTAKE_LISTEN_FAILED */
  async listen({ host, port }: { host: string; port: number }): Promise<number> {
    try {
      this.#server.listen(port, host);
      await once(this.#server, 'listening');
    } catch (cause) {
      const details = { address: `${host}:${port}`, reason: reasonOf(cause) };
      throw new ConnectorError('INTAKE_LISTEN_FAILED', details, { cause });
    }
    const address = this.#server.address();
    assert(typeof address === 'object' && address !== null, 'a listening TCP server has an address');
    return address.port;
  }

  /** No request after it resolves; uploads in progress are stopped where they are, and that much is durable. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const closed = once(this.#server, 'close');
    this.#server.close();
    const { uploads, clock } = this.#parts.handling;
    await uploads.stop();
    // Small requests are answered; whoever is slower than this is cut off.
    const answered = new AbortController();
    const isAnswered = Promise.allSettled(this.#pending).then(() => answered.abort());
    await clock.sleep(stopMs, answered.signal);
    this.#server.closeAllConnections();
    await Promise.all([closed, isAnswered]);
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    request.setTimeout(this.#parts.handling.limits.bodyIdleMs, () => giveUp(request, response));
    const pending = this.#answer(request)
      .then((answer) => send({ request, response, clock: this.#parts.handling.clock }, answer))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#pending.delete(pending));
    this.#pending.add(pending);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? '/', 'https://intake');
    const routed = findRoute(request.method ?? '', url.pathname);
    try {
      const agent = this.#admit(request.socket);
      if (!routed) throw refusal('NOT_FOUND');
      if ('allow' in routed) return refusedAnswer('METHOD_NOT_ALLOWED', { Allow: routed.allow.join(', ') });
      const exchange = { agent, parcelId: routed.parcelId ?? '', url, request };
      return await this.#within(agent, () => this.#handle(routed, exchange));
    } catch (error) {
      return this.#refused(error);
    }
  }

  async #handle(routed: { name: RouteName }, exchange: Exchange): Promise<Answer> {
    const { handling } = this.#parts;
    try {
      return await handlers[routed.name](exchange, handling);
    } catch (error) {
      return this.#refused(error, exchange.agent, offsetHeader(routed.name, exchange, handling));
    }
  }

  /** @throws ConnectorError INTAKE_REFUSED */
  #admit(socket: IncomingMessage['socket']): string {
    assert(socket instanceof TLSSocket, 'an https server has TLS sockets only');
    if (this.#isStopping) throw refusal('STOPPING');
    const peer = this.#peers.get(socket) ?? readPeer(socket.getPeerCertificate());
    this.#peers.set(socket, peer);
    const { revocations, handling } = this.#parts;
    if (revocations.has(peer.serial)) throw refusal('CERTIFICATE_REVOKED');
    if (handling.clock.now() > peer.notAfter) throw refusal('CERTIFICATE_EXPIRED');
    return peer.agent;
  }

  async #within(agent: string, work: () => Promise<Answer>): Promise<Answer> {
    const running = this.#running.get(agent) ?? 0;
    if (running >= this.#parts.handling.limits.requestsPerAgent) throw refusal('BUSY');
    this.#running.set(agent, running + 1);
    try {
      return await work();
    } finally {
      const left = (this.#running.get(agent) ?? 1) - 1;
      if (left === 0) this.#running.delete(agent);
      else this.#running.set(agent, left);
    }
  }

  #refused(error: unknown, agent?: string, headers: Answer['headers'] = {}): Answer {
    const code = refusalOf(error);
    if (code === undefined) {
      this.#fail(error, agent);
      return refusedAnswer('INTERNAL', headers);
    }
    this.#parts.handling.report({
      name: 'intake.refused',
      word: code,
      ...(agent === undefined ? {} : { source: agent }),
    });
    return refusedAnswer(code, { ...headers, ...this.#retryAfter(code), ...closing(code) });
  }

  #retryAfter(code: string): Record<string, number> {
    if (code === 'FULL' || code === 'QUOTA')
      return { 'Retry-After': this.#parts.handling.limits.retryAfterFullSeconds };
    return code === 'LOCKED' || code === 'BUSY' || code === 'STOPPING' ? { 'Retry-After': 1 } : {};
  }

  #fail(error: unknown, agent?: string): void {
    const failure = new ConnectorError('INTAKE_FAILED', { reason: reasonOf(error) }, { cause: error });
    const source = agent === undefined ? {} : { source: agent };
    this.#parts.handling.report({ name: 'intake.failed', code: failure.code, word: reasonOf(error), ...source });
  }
}

/** Answers before it cuts: whoever waits for the body sees the cut and lets go of what it holds. */
function giveUp(request: IncomingMessage, response: ServerResponse): void {
  // All has been read, and the disk is what takes its time.
  if (request.complete) return;
  const { status, body } = refusedAnswer('BODY_TIMEOUT');
  response.writeHead(status, { 'Content-Type': 'application/json', Connection: 'close' });
  response.end(JSON.stringify(body), () => request.destroy());
}

function readPeer(certificate: PeerCertificate): Peer {
  // Two CN in one subject come as an array; whoever we issue to has one.
  const parsed = facilityCode.safeParse(certificate.subject?.CN);
  if (!parsed.success) throw refusal('CERTIFICATE_NAME');
  return { agent: parsed.data, serial: certificate.serialNumber, notAfter: Date.parse(certificate.valid_to) };
}

/** A certificate that is not welcome does not keep its connection. */
function closing(code: string): Record<string, string> {
  return code.startsWith('CERTIFICATE_') || code === 'STOPPING' ? { Connection: 'close' } : {};
}

/** OpenSSL's code for a failed handshake; never its text, which may hold what the peer sent. */
function tlsWord(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : 'TLS_FAILED';
}
