/**
 * MLLP blocks out of a byte stream (HL7 Implementation Support Guide, MLLP release 1):
 *
 * ```
 * <VT 0x0B> content <FS 0x1C> <CR 0x0D>
 * ```
 * Works on bytes and never decodes: 0x0B, 0x1C and 0x0D are no part of a character in UTF-8, CP932, EUC-JP or
 * ISO-2022-JP, so no text can end a frame too early. Every byte is looked at a fixed number of times however it is
 * chunked.
 */
import { CR, LF } from '../../base/hl7/bytes.ts';

export const VT = 0x0b;
export const FS = 0x1c;

const KiB = 1024;

/** Noise tolerated between two frames before the peer is taken for something that does not speak MLLP. */
export const strayBytesMax = 64 * KiB;

/** First bytes of an oversized frame handed on, so that its control id can be named in the refusal. */
const headBytes = 4 * KiB;

/** Where gathering starts; doubled while a frame grows, so that copying stays in proportion to its size. */
const gatherBytesMin = 4 * KiB;

/**
 * - `stray-bytes`: something other than CR and LF between two frames; skipped.
 * - `lost-end-block`: a start block inside a frame. What came before is dropped and must never be acknowledged: the
 *   sender will repeat it.
 * - `bare-end-block`: FS without its CR, followed by a start block or the end of the stream; the frame is taken.
 * - `cut-off`: the stream ended inside a frame, which is dropped.
 */
export type FrameProblem = 'stray-bytes' | 'lost-end-block' | 'bare-end-block' | 'cut-off';

/** Why no further byte of this stream is looked at. */
export type FrameFault = 'too-large' | 'too-much-noise';

export interface FrameHandler {
  /** The content of one block, exact. The buffer is the handler's to keep. */
  frame(content: Buffer): void;
  problem(problem: FrameProblem, byteCount: number): void;
  /** Said once; the framer ignores everything after it. `head` is the beginning of the frame concerned, if any. */
  fault(fault: FrameFault, head: Buffer): void;
}

export interface FramerOptions {
  readonly frameBytesMax: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export class MllpFramer {
  readonly #options: FramerOptions;
  readonly #handler: FrameHandler;
  /** The only piece so far: a frame that lies within one chunk is never copied. */
  #single: Buffer | undefined;
  #gathered: Buffer | undefined;
  #length = 0;
  #openSince: number | undefined;
  #sawFs = false;
  #strayBytes = 0;
  #isOver = false;

  constructor(options: FramerOptions, handler: FrameHandler) {
    this.#options = options;
    this.#handler = handler;
  }

  /** When the frame being received began, or was last excused; undefined between frames. */
  get openSince(): number | undefined {
    return this.#openSince;
  }

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#isOver; ) {
      at = this.#openSince === undefined ? this.#outside(chunk, at) : this.#inside(chunk, at);
    }
  }

  /** The stream ended in good order. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#reportStray();
    if (this.#openSince === undefined) return;
    if (this.#sawFs) {
      this.#handler.problem('bare-end-block', 0);
      this.#emit();
    } else {
      this.#handler.problem('cut-off', this.#length);
      this.#close();
    }
  }

  /** Starts the frame's time again: it was we who stopped reading, not the peer who stopped writing. */
  excuse(): void {
    if (this.#openSince !== undefined) this.#openSince = this.#options.now();
  }

  #outside(chunk: Buffer, at: number): number {
    const start = chunk.indexOf(VT, at);
    const end = start < 0 ? chunk.length : start;
    this.#countStray(chunk, at, end);
    if (start < 0 || this.#isOver) return end;
    this.#reportStray();
    this.#openSince = this.#options.now();
    return start + 1;
  }

  #inside(chunk: Buffer, at: number): number {
    if (this.#sawFs) return this.#afterFs(chunk, at);
    const fs = chunk.indexOf(FS, at);
    const end = fs < 0 ? chunk.length : fs;
    // Searched within this piece only: up to the chunk's end, a chunk full of FS would cost the square of its length.
    const piece = chunk.subarray(at, end);
    const vt = piece.indexOf(VT);
    if (vt >= 0) {
      this.#handler.problem('lost-end-block', this.#length + vt);
      this.#close();
      return at + vt;
    }
    this.#append(piece);
    if (fs < 0) return end;
    this.#sawFs = true;
    return fs + 1;
  }

  #afterFs(chunk: Buffer, at: number): number {
    this.#sawFs = false;
    if (chunk[at] === CR) {
      this.#emit();
      return at + 1;
    }
    if (chunk[at] === VT) {
      this.#handler.problem('bare-end-block', 0);
      this.#emit();
      return at;
    }
    // FS followed by anything else ends nothing; it is content, however odd.
    this.#append(Buffer.of(FS));
    return at;
  }

  #append(piece: Buffer): void {
    if (piece.length === 0) return;
    if (this.#length + piece.length > this.#options.frameBytesMax) return this.#overflow(piece);
    if (this.#length === 0) this.#single = piece;
    else this.#gather(piece);
    this.#length += piece.length;
  }

  #gather(piece: Buffer): void {
    const needed = this.#length + piece.length;
    if (!this.#gathered || this.#gathered.length < needed) {
      const larger = Buffer.allocUnsafeSlow(
        Math.max(gatherBytesMin, Math.min(2 * needed, this.#options.frameBytesMax)),
      );
      this.#content().copy(larger);
      this.#gathered = larger;
      this.#single = undefined;
    }
    piece.copy(this.#gathered, this.#length);
  }

  #content(): Buffer {
    return this.#single ?? this.#gathered?.subarray(0, this.#length) ?? Buffer.alloc(0);
  }

  #emit(): void {
    const content = this.#content();
    this.#close();
    this.#handler.frame(content);
  }

  #overflow(piece: Buffer): void {
    const head = Buffer.concat([this.#content().subarray(0, headBytes), piece.subarray(0, headBytes)]);
    this.#close();
    this.#isOver = true;
    this.#handler.fault('too-large', head.subarray(0, headBytes));
  }

  #close(): void {
    this.#single = undefined;
    this.#gathered = undefined;
    this.#length = 0;
    this.#openSince = undefined;
    this.#sawFs = false;
  }

  /** Some senders end a block with CR LF, or send line ends as a sign of life: that is not worth a report. */
  #countStray(chunk: Buffer, from: number, end: number): void {
    for (let at = from; at < end; at++) {
      if (chunk[at] !== CR && chunk[at] !== LF) this.#strayBytes++;
    }
    if (this.#strayBytes <= strayBytesMax) return;
    this.#reportStray();
    this.#isOver = true;
    this.#handler.fault('too-much-noise', Buffer.alloc(0));
  }

  #reportStray(): void {
    if (this.#strayBytes > 0) this.#handler.problem('stray-bytes', this.#strayBytes);
    this.#strayBytes = 0;
  }
}
