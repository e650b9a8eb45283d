/**
 * One parcel's way out: tus 1.0 (core and creation, https://tus.io/protocols/resumable-upload) on undici.
 *
 * ```
 * attempt = HEAD ─ 404 ─▶ POST (the id is ours) ─▶ 0
 *             └── 200 ──▶ offset ─▶ permit? ─▶ PATCH one part ─▶ 204 ─▶ … ─▶ offset = length: complete
 * ```
 * An attempt has a connection of its own and ends with it. Whatever went wrong, the next one begins with HEAD: only the
 * producer knows what it has. `complete` means "all bytes were taken", never "delivered": a stream consumed before its
 * connection stood was seen to arrive shifted, acknowledged all the way, right length and wrong content. Only a
 * receipt over the digest counts. For the same reason parts are read by position, from a generator that undici asks
 * only once it is connected.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { ConnectorError, type ErrorCode, reasonOf } from '../model/errors.ts';
import { type Answer, type Ask, invalidAnswer, type Line } from './line.ts';
import { type ProducerLink, tusHeaders } from './link.ts';
import type { Throttle } from './rate.ts';
import { Backoff, type Random, retryAfterOf } from './retry.ts';

export interface SealedParcel {
  readonly parcelId: string;
  readonly path: string;
  readonly bytes: number;
  /** JWS of the ParcelStatement. */
  readonly statement: string;
}

export interface UploadOptions {
  /** Asked before the announcement, before each part and while waiting: the gate, as of now. */
  readonly permit: () => 'go' | 'pause' | 'void';
  /** Shared by all uploads to this producer. */
  readonly rate: Throttle;
  /** Aborting resets the connection at once. The promise settles after that, and then no byte leaves any more. */
  readonly signal: AbortSignal;
  readonly progress?: (state: { readonly offset: number; readonly bytes: number }) => void;
  readonly random?: Random;
}

type PauseReason = 'aborted' | 'permit' | 'void' | 'window';

/** `sentBytes`: of the sealed file, given to the network by this call, repeats included; the most that can have left. */
export type UploadResult = { readonly sentBytes: number } & (
  | { readonly kind: 'complete' }
  /** `offset`: what the producer last confirmed. */
  | { readonly kind: 'paused'; readonly reason: PauseReason; readonly offset: number }
  /** A permanent error: a person must act, or the parcel must be made anew. */
  | { readonly kind: 'refused'; readonly error: ConnectorError }
);

/** Read, encrypted and written in pieces of this size. Smaller costs throughput, larger costs memory and slow lines. */
const pieceBytesMax = 512 * 1024;

/**
 * Pieces in use at once: one with the socket, one that undici has asked for ahead, one being read, and one to spare. A
 * socket holds back whoever writes once it has 64 KiB that the kernel has not taken, so by the time the next piece is
 * through, the one before is. A new buffer for each piece is three times as slow on a virtual machine, where new memory
 * has to come from the host.
 */
const ringLength = 4;

/** No piece accepted by the line for so long, and it is taken for dead. */
const stallMsMax = 30_000;

/** After a part's last byte the producer may still have to sync gigabytes to its disk. */
const answerMsMax = 120_000;

/** How often a request in flight is looked at: for standing still, and for the end of the window. */
const watchMs = 1000;

/** While waiting to try again the permit is asked this often. */
const permitMs = 60_000;

/** So many failures in a row without progress are told to a person; fewer are an ordinary bad line. */
const failuresBeforeAlarm = 5;

/** A producer may lose or discard what it had once; twice is a fault that repeating does not mend. */
const restartsMax = 1;

/**
 * Uploads a sealed parcel, however often the line breaks, until it is complete, refused, or no longer permitted.
 * Calling it again for the same parcel goes on where the producer stands.
 */
export async function upload(link: ProducerLink, parcel: SealedParcel, options: UploadOptions): Promise<UploadResult> {
  let file: FileHandle;
  try {
    file = await open(parcel.path, 'r');
  } catch (cause) {
    const error = new ConnectorError('FILE_UNREADABLE', { path: parcel.path, reason: reasonOf(cause) }, { cause });
    return { kind: 'refused', error, sentBytes: 0 };
  }
  try {
    return await new Upload(link, parcel, options, file).run();
  } finally {
    await file.close();
  }
}

/** How an attempt ended. `again`: at once, something was learned that needs no waiting. */
type Outcome = 'complete' | 'again' | { readonly halted: PauseReason } | { readonly failed: ConnectorError };

/** Ends an attempt that is to be begun again at once. */
class Again extends Error {}

class Upload {
  readonly #link: ProducerLink;
  readonly #parcel: SealedParcel;
  readonly #options: UploadOptions;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #backoff: Backoff;
  /** What the producer last confirmed to hold. */
  #offset = 0;
  #isKnownThere = false;
  #restarts = 0;
  #sentBytes = 0;
  #isAlarmed = false;
  // Of the request in flight:
  #halted: PauseReason | undefined;
  #isStalled = false;
  #isThrottled = false;
  #isBodySent = false;
  #movedAt = 0;

  constructor(link: ProducerLink, parcel: SealedParcel, options: UploadOptions, file: FileHandle) {
    this.#link = link;
    this.#parcel = parcel;
    this.#options = options;
    this.#file = file;
    this.#path = `files/${encodeURIComponent(parcel.parcelId)}`;
    this.#backoff = new Backoff(options.random);
  }

  async run(): Promise<UploadResult> {
    for (;;) {
      const halted = this.#haltReason();
      const outcome: Outcome = halted ? { halted } : await this.#attempt();
      const sentBytes = this.#sentBytes;
      if (outcome === 'again') continue;
      if (outcome === 'complete') return { kind: 'complete', sentBytes };
      if ('halted' in outcome) return { kind: 'paused', reason: outcome.halted, offset: this.#offset, sentBytes };
      const { failed } = outcome;
      if (failed.class === 'permanent') {
        this.#alarm(failed);
        return { kind: 'refused', error: failed, sentBytes };
      }
      await this.#waitAfter(failed);
    }
  }

  async #attempt(): Promise<Outcome> {
    const line = this.#link.openLine();
    const cut = () => void line.cut();
    this.#options.signal.addEventListener('abort', cut, { once: true });
    try {
      for (let offset = await this.#locate(line); offset < this.#parcel.bytes; ) {
        const halted = this.#haltReason();
        if (halted) return { halted };
        offset = await this.#sendPart(line, offset);
      }
      // Politely: nothing is left to be thrown away. The reset that follows finds nothing open.
      await line.close();
      return 'complete';
    } catch (error) {
      return this.#outcomeOf(error);
    } finally {
      this.#options.signal.removeEventListener('abort', cut);
      // Also the second call, after an abort, resolves only when the sockets are closed.
      await line.cut();
    }
  }

  #outcomeOf(error: unknown): Outcome {
    if (error instanceof Again) return 'again';
    if (!(error instanceof ConnectorError)) throw error;
    if (this.#options.signal.aborted) return { halted: 'aborted' };
    return this.#halted ? { halted: this.#halted } : { failed: error };
  }

  /** Where the producer stands; announces the parcel when it does not know it. */
  async #locate(line: Line): Promise<number> {
    // HEAD before POST: after a crash, or an answer that was lost, it is there already.
    const head = await this.#request(line, { method: 'HEAD', path: this.#path });
    if (head.status === 200) return this.#found(head);
    if (head.status === 410) throw this.#fault('PARCEL_GONE');
    if (head.status !== 404) throw this.#link.refusal(head);
    if (this.#isKnownThere) this.#restart('PARCEL_LOST');
    return this.#announce(line);
  }

  #found(head: Answer): number {
    const { bytes } = this.#parcel;
    const length = head.header('upload-length');
    if (length !== undefined && length !== String(bytes)) throw this.#fault('PARCEL_OTHER_LENGTH');
    const offset = this.#offsetOf(head);
    if (offset > bytes) throw this.#fault('PRODUCER_OFFSET_INVALID', { offset, expected: bytes });
    // Back to nothing is what a producer does that discarded it and whose 460 was lost. Back to anything else is not.
    if (offset === 0 && this.#offset > 0) this.#restart('PARCEL_LOST');
    if (offset < this.#offset) throw this.#fault('PRODUCER_OFFSET_INVALID', { offset, expected: this.#offset });
    this.#isKnownThere = true;
    this.#advance(offset);
    return offset;
  }

  async #announce(line: Line): Promise<number> {
    const { parcelId, bytes, statement } = this.#parcel;
    const metadata = `parcelId ${base64(parcelId)},statement ${base64(statement)}`;
    const headers = { 'upload-length': String(bytes), 'upload-metadata': metadata };
    const answer = await this.#request(line, { method: 'POST', path: 'files/', headers });
    if (answer.status !== 201)
      throw this.#refusal(answer, { ...gone, 413: 'PARCEL_OVER_LIMIT', 422: 'PARCEL_REFUSED' });
    const location = answer.header('location');
    const [, id] = /([^/?#]+)\/?$/.exec(location ?? '') ?? [];
    if (id !== encodeURIComponent(parcelId)) throw this.#fault('PRODUCER_ID_CHANGED');
    this.#isKnownThere = true;
    return 0;
  }

  async #sendPart(line: Line, offset: number): Promise<number> {
    const { partSize } = this.#link;
    const end = Math.min(this.#parcel.bytes, offset + partSize.bytes);
    const headers = {
      'content-type': 'application/offset+octet-stream',
      'content-length': String(end - offset),
      'upload-offset': String(offset),
    };
    let answer: Answer;
    try {
      answer = await this.#request(line, {
        method: 'PATCH',
        path: this.#path,
        headers,
        body: this.#read(line, offset, end),
      });
    } catch (error) {
      if (!this.#halted && error instanceof ConnectorError && error.class === 'ambiguous') partSize.cut();
      throw error;
    }
    if (answer.status === 413) {
      if (!partSize.tooLarge(end - offset)) throw this.#fault('PRODUCER_BODY_LIMIT', { bytes: end - offset });
      throw new Again();
    }
    if (answer.status === 460) {
      this.#restart('PARCEL_DIGEST_REFUSED');
      throw new Again();
    }
    if (answer.status !== 204) throw this.#refusal(answer, { ...gone, 404: 'PARCEL_CONFLICT' });
    const next = this.#offsetOf(answer);
    if (next !== end) throw this.#fault('PRODUCER_OFFSET_INVALID', { offset: next, expected: end });
    partSize.clean();
    this.#advance(next);
    return next;
  }

  /** The bytes from `from` to `end`, as fast as the rate allows. Asked by undici once the connection stands. */
  async *#read(line: Line, from: number, end: number): AsyncGenerator<Uint8Array> {
    const { signal, rate } = this.#options;
    for await (const piece of this.#pieces(from, end)) {
      for (let offset = 0; offset < piece.length; ) {
        this.#isThrottled = true;
        const granted = await rate.take(piece.length - offset, signal);
        this.#isThrottled = false;
        if (granted === 0) await this.#halt(line, signal.aborted ? 'aborted' : 'window');
        if (signal.aborted) await this.#halt(line, 'aborted');
        this.#sentBytes += granted;
        this.#movedAt = this.#link.clock.monotonic();
        yield piece.subarray(offset, offset + granted);
        offset += granted;
        // The line has taken it, or undici would not ask for more.
        this.#movedAt = this.#link.clock.monotonic();
      }
    }
    this.#isBodySent = true;
  }

  /** Of the file; the next one is read while the line takes the one before. */
  async *#pieces(from: number, end: number): AsyncGenerator<Uint8Array> {
    // A part's own: what a part that was cut left unfinished cannot reach the next one's.
    const ring: Buffer[] = [];
    let turn = 0;
    const read = (at: number) => {
      const buffer = (ring[turn++ % ringLength] ??= Buffer.allocUnsafeSlow(pieceBytesMax));
      return this.#piece(buffer, at, end);
    };
    let reading = read(from);
    for (let at = from; at < end; ) {
      const piece = await reading;
      at += piece.length;
      if (at < end) reading = read(at);
      // Whoever asks for the next piece is told; one that is never asked for is of no interest.
      reading.catch(ignoreUntilAwaited);
      yield piece;
    }
  }

  async #piece(buffer: Buffer, at: number, end: number): Promise<Uint8Array> {
    const { bytesRead } = await this.#file.read(buffer, 0, Math.min(buffer.length, end - at), at);
    if (bytesRead === 0) throw this.#fault('PARCEL_FILE_SHORT');
    return buffer.subarray(0, bytesRead);
  }

  /** Stops in the middle of a part. */
  async #halt(line: Line, reason: PauseReason): Promise<never> {
    this.#halted = reason;
    await line.cut();
    throw this.#fault('NET_CUT', { peer: this.#link.name, reason });
  }

  /** A request under watch: cut when it stands still and when the window closes. */
  async #request(line: Line, ask: Ask): Promise<Answer> {
    this.#isStalled = false;
    this.#isBodySent = false;
    this.#movedAt = this.#link.clock.monotonic();
    const done = new AbortController();
    const watch = this.#watch(line, done.signal);
    try {
      return await line.request({ ...ask, headers: { ...tusHeaders, ...ask.headers } });
    } catch (cause) {
      if (!this.#isStalled) throw cause;
      throw new ConnectorError('NET_STALLED', { peer: this.#link.name, reason: reasonOf(cause) }, { cause });
    } finally {
      done.abort();
      await watch;
    }
  }

  async #watch(line: Line, done: AbortSignal): Promise<void> {
    const { clock } = this.#link;
    for (;;) {
      await clock.sleep(watchMs, done);
      if (done.aborted) return;
      const isStill = clock.monotonic() - this.#movedAt >= (this.#isBodySent ? answerMsMax : stallMsMax);
      if (!this.#options.rate.isOpen) this.#halted = 'window';
      else if (isStill && !this.#isThrottled) this.#isStalled = true;
      else continue;
      return line.cut();
    }
  }

  #haltReason(): PauseReason | undefined {
    if (this.#options.signal.aborted) return 'aborted';
    const permit = this.#options.permit();
    if (permit !== 'go') return permit === 'void' ? 'void' : 'permit';
    return this.#options.rate.isOpen ? undefined : 'window';
  }

  async #waitAfter(failed: ConnectorError): Promise<void> {
    const { clock } = this.#link;
    const until = clock.monotonic() + this.#backoff.nextMs(retryAfterOf(failed));
    if (this.#backoff.failures === failuresBeforeAlarm) this.#alarm(failed);
    for (let leftMs = 1; leftMs > 0 && !this.#haltReason(); ) {
      leftMs = until - clock.monotonic();
      if (leftMs > 0) await clock.sleep(Math.min(leftMs, permitMs), this.#options.signal);
    }
  }

  #advance(offset: number): void {
    if (offset > this.#offset) {
      this.#backoff.reset();
      if (this.#isAlarmed) this.#link.report({ name: 'ship.recovered', producer: this.#link.name });
      this.#isAlarmed = false;
    }
    this.#offset = offset;
    this.#options.progress?.({ offset, bytes: this.#parcel.bytes });
  }

  #alarm(error: ConnectorError): void {
    const { name: producer, report } = this.#link;
    this.#isAlarmed = true;
    report({ name: 'ship.failed', producer, parcel: this.#parcel.parcelId, code: error.code });
  }

  /** Begins from nothing, once. */
  #restart(code: ErrorCode): void {
    if (this.#restarts >= restartsMax) throw this.#fault(code);
    this.#restarts += 1;
    this.#offset = 0;
    this.#isKnownThere = false;
  }

  #offsetOf(answer: Answer): number {
    const text = answer.header('upload-offset') ?? '';
    if (!/^\d{1,15}$/.test(text)) throw invalidAnswer(this.#link.name, 'it has no Upload-Offset');
    return Number(text);
  }

  /** Statuses with a meaning of their own here, and the link's for all others. */
  #refusal(answer: Answer, meanings: Readonly<Record<number, ErrorCode>>): ConnectorError {
    const general = this.#link.refusal(answer);
    const code = meanings[answer.status];
    // A code the producer named itself says more than the status.
    const isPlain = general.code === 'PRODUCER_REFUSED' || general.code === 'PRODUCER_NOT_FOUND';
    return code && isPlain ? this.#fault(code) : general;
  }

  #fault(code: ErrorCode, details: Readonly<Record<string, string | number>> = {}): ConnectorError {
    return new ConnectorError(code, { producer: this.#link.name, parcel: this.#parcel.parcelId, ...details });
  }
}

const gone: Readonly<Record<number, ErrorCode>> = { 409: 'PARCEL_CONFLICT', 410: 'PARCEL_GONE' };

function ignoreUntilAwaited(): void {
  // See #pieces: the same promise is awaited later, and then throws.
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
