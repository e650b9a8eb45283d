/**
 * The link to one producer: docs/producer-api.md, from the hospital's side. Each method is one attempt; who calls it
 * decides about another by the error's class (`retry.ts`). Uploads have a file of their own, `upload.ts`, because they
 * are many requests, and a connection of their own, because theirs is cut when a patient says stop.
 */
import { z } from 'zod';
import type { ProxyOptions, TlsFiles } from '../base/net.ts';
import { ConnectorError, type ErrorCode } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';
import type { HelloAnswer } from '../model/wire.ts';
import { type Answer, type Ask, invalidAnswer, Line } from './line.ts';
import { PartSize } from './part-size.ts';
import { parseRetryAfter } from './retry.ts';

export interface LinkOptions {
  /** The producer's name in the configuration. */
  readonly name: string;
  readonly url: string;
  readonly tls: TlsFiles;
  readonly proxy?: ProxyOptions | undefined;
  /** `kakehashi`: our intake, whose DELETE is atomic. `tus`: any tus 1.0 server, whose DELETE proves nothing. */
  readonly receiver: 'kakehashi' | 'tus';
  readonly clock: Clock;
  readonly report: Report;
}

/** The producer's clock, as its answer's `Date` header told it. Whole seconds. */
export interface TimedAnswer {
  readonly at: Instant;
  readonly roundTripMs: number;
}

/**
 * What became of a DELETE. `void` with `atomic`: it will never be stored. Without: it is gone now, but if its last byte
 * had been sent it may have been taken in before, so it must be retracted. `stored`: too late, with the proof.
 */
export type VoidResult =
  | { readonly kind: 'void'; readonly atomic: boolean }
  | { readonly kind: 'stored'; readonly receipt: string };

/** For a question of a few kilobytes, over a satellite line, to a producer that is busy. */
const requestMsMax = 30_000;

/** 500 receipts of at most a few kilobytes. */
const receiptsMax = 500;
const receiptsBytesMax = 8 * 1024 * 1024;

const jwsCharsMax = 64 * 1024;
const jwsText = z
  .string()
  .max(jwsCharsMax)
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/);
const count = z.int().min(0);
const ledgerHead = z.object({ seq: count, hash: z.string().regex(/^[0-9a-f]{64}$/) });
const producerName = z.string().min(1).max(256);
const healthAnswer = z.object({ ok: z.literal(true), producer: producerName });
const helloAnswer = z.object({
  producer: producerName,
  epoch: count,
  sequence: count,
  receiptSequence: count,
  ledgerHead: ledgerHead.exactOptional(),
});
const receiptsAnswer = z.object({ receipts: z.array(jwsText).max(receiptsMax) });
const errorAnswer = z.object({ code: z.string().max(64) });

/** How tus servers say that an upload is finished or that they do not offer termination. */
const undeletable: ReadonlySet<number> = new Set([400, 405, 409, 501]);

export const tusHeaders = { 'tus-resumable': '1.0.0' } as const;

export class ProducerLink {
  readonly name: string;
  readonly receiver: LinkOptions['receiver'];
  readonly clock: Clock;
  readonly report: Report;
  /** Learned from parcel to parcel; lost at a restart, and learned again. */
  readonly partSize = new PartSize();
  readonly #base: URL;
  readonly #options: LinkOptions;
  readonly #line: Line;

  /** @throws ConnectorError PROXY_UNSUPPORTED */
  constructor(options: LinkOptions) {
    this.name = options.name;
    this.receiver = options.receiver;
    this.clock = options.clock;
    this.report = options.report;
    this.#options = options;
    this.#base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`);
    this.#line = this.openLine();
  }

  /** A connection for one upload attempt; whoever opens it cuts it. */
  openLine(): Line {
    return new Line(this.#base, this.#options);
  }

  /** Is it there, and what time is it there. A plain tus server is asked what it can do instead. */
  async health(): Promise<TimedAnswer & { readonly producer: string }> {
    if (this.receiver === 'tus') {
      const answer = await this.#ask({ method: 'OPTIONS', path: 'files/', headers: tusHeaders }, [200, 204]);
      if (answer.header('tus-version') === undefined) throw invalidAnswer(this.name, 'it does not speak tus');
      return { producer: this.name, ...this.#timed(answer) };
    }
    const answer = await this.#ask({ method: 'GET', path: 'v1/health' }, [200]);
    return { producer: this.#read(answer, healthAnswer).producer, ...this.#timed(answer) };
  }

  /**
   * First word of a session.
   *
   * @throws ConnectorError EPOCH_OLD - a newer installation of this hospital has spoken: this one is a clone.
   * @throws ConnectorError KEY_MISMATCH - the producer has pinned another signing key for this hospital.
   */
  async hello(jws: string): Promise<TimedAnswer & { readonly answer: HelloAnswer }> {
    const answer = await this.#ask({ method: 'POST', path: 'v1/hello', ...jose(jws) }, [200]);
    return { answer: this.#read(answer, helloAnswer), ...this.#timed(answer) };
  }

  /** JWS of the receipts after this receipt sequence, in order, at most 500; unverified. */
  async receipts(after: number): Promise<readonly string[]> {
    const path = `v1/receipts?after=${after}`;
    const answer = await this.#ask({ method: 'GET', path, answerBytesMax: receiptsBytesMax }, [200]);
    return this.#read(answer, receiptsAnswer).receipts;
  }

  /** Sends a retraction, as often as needed; the same one gets the same RetractionReceipt (JWS, unverified). */
  async retract(jws: string): Promise<string> {
    const answer = await this.#ask({ method: 'POST', path: 'v1/retractions', ...jose(jws) }, [200]);
    return this.#jws(answer);
  }

  /** Withdraws a parcel, for ever. Harmless twice, and for one that was never announced. */
  async void(parcelId: string): Promise<VoidResult> {
    const path = `files/${encodeURIComponent(parcelId)}`;
    const answer = await this.#send({ method: 'DELETE', path, headers: tusHeaders });
    const isAtomic = this.receiver === 'kakehashi' && answer.header('kakehashi-void') === 'atomic';
    if (answer.status === 204 || answer.status === 404 || answer.status === 410) {
      return { kind: 'void', atomic: isAtomic && answer.status === 204 };
    }
    // A server that cannot or will not delete leaves us the retraction, as one does whose 204 proves nothing.
    if (this.receiver === 'tus' && undeletable.has(answer.status)) return { kind: 'void', atomic: false };
    if (answer.status === 409 && isAtomic) return { kind: 'stored', receipt: this.#jws(answer) };
    throw this.refusal(answer);
  }

  /**
   * One heartbeat.
   *
   * @throws ConnectorError HEARTBEAT_OLD - its number was used already; take the next one.
   */
  async sendMetrics(body: string | Uint8Array, jws: string): Promise<void> {
    const headers = { 'content-type': 'application/json', 'kakehashi-signature': jws };
    await this.#ask({ method: 'POST', path: 'v1/metrics', headers, body }, [200]);
  }

  /** Closes the shared connection; a question in flight fails. Uploads end by their own signal. Harmless twice. */
  async close(): Promise<void> {
    await this.#line.cut();
  }

  /** What an answer's status means where the caller has no meaning of its own for it. */
  refusal(answer: Answer): ConnectorError {
    const { status } = answer;
    const code = codeOf(answer) ?? byStatus[status] ?? (status >= 500 ? 'PRODUCER_FAILED' : 'PRODUCER_REFUSED');
    const retryAfterMs = parseRetryAfter(answer.header('retry-after'), this.clock.now());
    return new ConnectorError(code, { producer: this.name, status, retryAfterMs });
  }

  async #ask(ask: Ask, expected: readonly number[]): Promise<Answer> {
    const answer = await this.#send(ask);
    if (!expected.includes(answer.status)) throw this.refusal(answer);
    return answer;
  }

  async #send(ask: Ask): Promise<Answer> {
    return await this.#line.request({ timeoutMs: requestMsMax, ...ask });
  }

  #timed(answer: Answer): TimedAnswer {
    const at = Date.parse(answer.header('date') ?? '');
    if (Number.isNaN(at)) throw invalidAnswer(this.name, 'it has no Date');
    return { at, roundTripMs: answer.roundTripMs };
  }

  #jws(answer: Answer): string {
    const text = answer.body.toString('latin1').trim();
    if (!jwsText.safeParse(text).success) throw invalidAnswer(this.name, 'it is not a JWS');
    return text;
  }

  #read<T>(answer: Answer, shape: z.ZodType<T>): T {
    const result = shape.safeParse(parseJson(answer.body));
    // The answer's own text is not repeated: it comes from outside and could say anything.
    if (!result.success) throw invalidAnswer(this.name, 'it is not the JSON expected');
    return result.data;
  }
}

/** Codes a producer names in its error body that mean something to us. */
const byName: Readonly<Record<string, ErrorCode>> = {
  EPOCH_OLD: 'EPOCH_OLD',
  KEY_MISMATCH: 'KEY_MISMATCH',
  SEQUENCE_OLD: 'HEARTBEAT_OLD',
};

const byStatus: Readonly<Record<number, ErrorCode>> = {
  401: 'PRODUCER_DENIED',
  403: 'PRODUCER_DENIED',
  404: 'PRODUCER_NOT_FOUND',
  408: 'PRODUCER_BUSY',
  423: 'PRODUCER_BUSY',
  429: 'PRODUCER_BUSY',
  503: 'PRODUCER_BUSY',
  507: 'PRODUCER_FULL',
};

function codeOf(answer: Answer): ErrorCode | undefined {
  if (answer.status < 400 || answer.status >= 500) return undefined;
  const result = errorAnswer.safeParse(parseJson(answer.body));
  return result.success ? byName[result.data.code] : undefined;
}

function jose(body: string): { headers: Record<string, string>; body: string } {
  return { headers: { 'content-type': 'application/jose' }, body };
}

/** Undefined for what is not JSON, which no shape accepts. */
function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}
