/**
 * One connection at a time to one producer: requests go out in turn, answers are read whole and bounded, and every
 * failure below HTTP comes back as a ConnectorError. Statuses are the caller's to judge.
 */
import { Readable } from 'node:stream';
import { Client, request } from '../base/undici.ts';
import { Dialer, type DialerOptions } from '../base/net.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';

export interface Ask {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE' | 'OPTIONS';
  /** Relative to the producer's url, no leading slash. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  /** Default: `answerBytesMax`. */
  readonly answerBytesMax?: number;
  /** From the first byte to the answer's last. Without it the caller watches over the request, and cuts. */
  readonly timeoutMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
  /** Includes connecting, when there was no connection yet. */
  readonly roundTripMs: number;
  header(name: string): string | undefined;
}

/** Answers are a JWS or a few numbers; an HTML page of a proxy is larger and of no use. */
const answerBytesMax = 64 * 1024;

export class Line {
  readonly #client: Client;
  readonly #dialer: Dialer;
  readonly #options: DialerOptions;
  readonly #base: URL;
  readonly #cutting = new AbortController();

  constructor(base: URL, options: DialerOptions) {
    this.#base = base;
    this.#options = options;
    this.#dialer = new Dialer(options);
    // The clock is ours, so undici's own timeouts are off. HTTP/1.1 only: HTTP/2 would put all parcels on one socket,
    // and a reset could not be aimed.
    this.#client = new Client(base.origin, {
      connect: this.#dialer.connect,
      allowH2: false,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /**
   * @throws ConnectorError NET_*, PROXY_*, TLS_*; PRODUCER_ANSWER_INVALID for an answer over its bound. An error of
   * ours thrown by the body's own iterator comes through as it is.
   */
  async request(ask: Ask): Promise<Answer> {
    const done = new AbortController();
    const expired = new AbortController();
    void this.#expire(ask.timeoutMs, done.signal, expired);
    try {
      // Whatever the dial is waiting for: a cut ends the request at once, or a stopping agent would wait out its timeout.
      return await this.#exchange(ask, AbortSignal.any([expired.signal, this.#cutting.signal]));
    } catch (cause) {
      if (cause instanceof ConnectorError) throw cause;
      const details = { peer: this.#base.host, reason: reasonOf(cause) };
      if (expired.signal.aborted) throw new ConnectorError('NET_STALLED', details, { cause });
      throw new ConnectorError(this.#dialer.fault ?? 'NET_CUT', details, { cause });
    } finally {
      done.abort();
    }
  }

  /**
   * Resets the connection for good. Once it resolves no byte leaves any more, not even one the kernel already held.
   * Harmless twice.
   */
  async cut(): Promise<void> {
    this.#cutting.abort();
    await this.#dialer.cut();
    await this.#client.destroy();
  }

  /** Ends the connection once nothing is in flight. */
  async close(): Promise<void> {
    await this.#client.close();
    await this.#dialer.closed();
  }

  async #exchange(ask: Ask, signal: AbortSignal): Promise<Answer> {
    const { clock } = this.#options;
    const startedAt = clock.monotonic();
    const { statusCode, headers, body } = await request(this.#client, {
      method: ask.method,
      path: `${this.#base.pathname}${ask.path}`,
      headers: { ...ask.headers },
      body: bodyOf(ask.body),
      signal,
    });
    const bytesMax = ask.answerBytesMax ?? answerBytesMax;
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // Leaving the loop destroys the body and with it the connection.
      if (bytes > bytesMax) throw invalidAnswer(this.#base.host, `it is larger than ${bytesMax} bytes`);
      chunks.push(chunk);
    }
    return {
      status: statusCode,
      body: Buffer.concat(chunks),
      roundTripMs: clock.monotonic() - startedAt,
      header: (name) => {
        const value = headers[name];
        return typeof value === 'string' ? value : value?.[0];
      },
    };
  }

  async #expire(timeoutMs: number | undefined, done: AbortSignal, expired: AbortController): Promise<void> {
    if (timeoutMs === undefined) return;
    await this.#options.clock.sleep(timeoutMs, done);
    if (!done.aborted) expired.abort();
  }
}

/** A stream that asks its source for nothing before undici, being connected, reads it, and then for one piece ahead. */
function bodyOf(body: Ask['body']): string | Uint8Array | Readable | null {
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) return body ?? null;
  return Readable.from(body, { objectMode: false, highWaterMark: 1 });
}

export function invalidAnswer(producer: string, reason: string, cause?: unknown): ConnectorError {
  return new ConnectorError('PRODUCER_ANSWER_INVALID', { producer, reason }, { cause });
}
