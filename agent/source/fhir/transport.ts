/**
 * Requests to one FHIR server and its token server, through one dispatcher. An answer is read whole, unpacked and
 * bounded; what fails below HTTP comes back as a ConnectorError. Redirects are not followed.
 */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Agent, request } from '../../base/undici.ts';
import { Dialer, type DialerOptions } from '../../base/net.ts';
import { ConnectorError, reasonOf } from '../../model/errors.ts';

export interface Ask {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Of the body, unpacked. */
  readonly bytesMax: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
  header(name: string): string | undefined;
}

/** An OperationOutcome has a few lines; the rest of an error page is not worth its memory. */
const errorBytesMax = 64 * 1024;

export class Transport {
  readonly #agent: Agent;
  readonly #dialer: Dialer;
  readonly #options: DialerOptions;

  /** @throws ConnectorError PROXY_UNSUPPORTED */
  constructor(options: DialerOptions) {
    this.#options = options;
    this.#dialer = new Dialer(options);
    // One question at a time: a hospital's server has its own users. The clock is ours, so undici's timeouts are off.
    this.#agent = new Agent({
      connect: this.#dialer.connect,
      connections: 1,
      pipelining: 1,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** @throws ConnectorError NET_*, PROXY_*, TLS_*, FHIR_ANSWER_INVALID, FHIR_PAGE_TOO_LARGE */
  async exchange(ask: Ask): Promise<Answer> {
    const done = new AbortController();
    const expired = new AbortController();
    void this.#expire(ask.timeoutMs, done.signal, expired);
    try {
      return await this.#exchange(ask, AbortSignal.any([expired.signal, ask.signal]));
    } catch (cause) {
      if (cause instanceof ConnectorError) throw cause;
      const details = { peer: ask.url.host, reason: reasonOf(cause) };
      if (expired.signal.aborted) throw new ConnectorError('NET_STALLED', details, { cause });
      throw new ConnectorError(this.#dialer.fault ?? 'NET_CUT', details, { cause });
    } finally {
      done.abort();
    }
  }

  /** Cuts what is open. Harmless twice. */
  async close(): Promise<void> {
    await this.#dialer.cut();
    await this.#agent.destroy();
  }

  async #exchange({ method, url, headers, body, bytesMax, signal }: Ask, ends: AbortSignal): Promise<Answer> {
    signal.throwIfAborted();
    const answer = await request(this.#agent, {
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method,
      headers: { ...headers, 'accept-encoding': 'gzip' },
      body: body ?? null,
      signal: ends,
    });
    const header = (name: string) => [answer.headers[name]].flat()[0];
    const encoding = header('content-encoding')?.trim().toLowerCase() ?? 'identity';
    const isGood = answer.statusCode >= 200 && answer.statusCode < 300;
    const limits = isGood ? { bytesMax, isCut: false } : { bytesMax: errorBytesMax, isCut: true };
    const read = new BodyReader(url.host, encoding, limits);
    return { status: answer.statusCode, body: await read.whole(answer.body), header };
  }

  async #expire(timeoutMs: number, done: AbortSignal, expired: AbortController): Promise<void> {
    await this.#options.clock.sleep(timeoutMs, done);
    if (!done.aborted) expired.abort();
  }
}

interface BodyLimits {
  readonly bytesMax: number;
  /** Whether what is over the bound is left out, or an error. */
  readonly isCut: boolean;
}

class BodyReader {
  readonly #peer: string;
  readonly #encoding: string;
  readonly #limits: BodyLimits;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(peer: string, encoding: string, limits: BodyLimits) {
    this.#peer = peer;
    this.#encoding = encoding;
    this.#limits = limits;
  }

  async whole(body: Readable): Promise<Buffer> {
    const keep = (source: AsyncIterable<Buffer>) => this.#keep(source);
    if (this.#encoding === 'identity' || this.#encoding === '') await pipeline(body, keep);
    else if (this.#encoding === 'gzip' || this.#encoding === 'x-gzip') await this.#unpack(body, keep);
    else {
      body.destroy();
      throw this.#invalid('it is packed in a way we did not ask for');
    }
    return Buffer.concat(this.#chunks);
  }

  async #unpack(body: Readable, keep: (source: AsyncIterable<Buffer>) => Promise<void>): Promise<void> {
    try {
      await pipeline(body, createGunzip(), keep);
    } catch (cause) {
      if (reasonOf(cause).startsWith('Z_')) throw this.#invalid('its gzip is damaged or ends too early', cause);
      throw cause;
    }
  }

  async #keep(source: AsyncIterable<Buffer>): Promise<void> {
    const { bytesMax, isCut } = this.#limits;
    for await (const chunk of source) {
      this.#bytes += chunk.length;
      if (this.#bytes <= bytesMax) this.#chunks.push(chunk);
      else if (!isCut) throw new ConnectorError('FHIR_PAGE_TOO_LARGE', { what: 'a page', limitBytes: bytesMax });
    }
  }

  #invalid(reason: string, cause?: unknown): ConnectorError {
    return new ConnectorError('FHIR_ANSWER_INVALID', { peer: this.#peer, reason }, { cause });
  }
}
