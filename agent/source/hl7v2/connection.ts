/**
 * One peer's socket: bytes in, answers out, and what bounds it.
 *
 * ```
 * open ──(peer ends, fault, stop)──▶ finishing ──(all answers written)──▶ ending ──(peer closes, or time)──▶ closed
 * ```
 * From `finishing` on input is read and thrown away: closing on unread bytes would reset the connection and could
 * destroy the last acknowledgement on its way.
 */
import type { Socket } from 'node:net';
import type { ErrorCode } from '../../model/errors.ts';
import type { SourceHost } from '../../model/ports.ts';
import { AnswerQueue } from './answers.ts';
import { type FrameFault, type FrameProblem, MllpFramer } from './framer.ts';
import { type Receiver, refusals } from './receive.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Bytes received and not yet answered, a connection: above it reading pauses until the buffer has caught up. */
export const inFlightBytesMax = 8 * MiB;

/** What a message costs beside its bytes, so that a flood of tiny ones is bounded too: 8192 of them in flight. */
const messageOverheadBytes = KiB;

/** Answers that a peer does not read: above it nothing more is read from this peer. */
export const unreadAnswerBytesMax = MiB;

/** How long a peer may take to close after our last answer. */
export const lingerMs = 2_000;

export interface ConnectionOptions {
  readonly frameBytesMax: number;
  /** From a frame's start block to its end block. */
  readonly frameMsMax: number;
  /** Without a byte and with nothing to answer; undefined: for ever. */
  readonly idleMsMax: number | undefined;
}

/** Why a connection was closed, as told in the event. */
type CloseReason = 'peer' | 'error' | 'stopped' | 'idle' | 'slow' | FrameFault;

export class Connection {
  readonly #socket: Socket;
  readonly #receiver: Receiver;
  readonly #options: ConnectionOptions;
  readonly #host: SourceHost;
  readonly #framer: MllpFramer;
  readonly #answers: AnswerQueue;
  #inFlightBytes = 0;
  #lastByteAt: number;
  #lingersUntil = Number.POSITIVE_INFINITY;
  #closeReason: CloseReason | undefined;

  constructor(socket: Socket, options: ConnectionOptions, receiver: Receiver, host: SourceHost) {
    this.#socket = socket;
    this.#options = options;
    this.#receiver = receiver;
    this.#host = host;
    this.#lastByteAt = host.clock.monotonic();
    this.#answers = new AnswerQueue((text) => this.#write(text));
    this.#framer = new MllpFramer(
      { frameBytesMax: options.frameBytesMax, now: () => host.clock.monotonic() },
      {
        frame: (content) => this.#take(content),
        problem: (problem, byteCount) => this.#problem(problem, byteCount),
        fault: (fault, head) => this.#fault(fault, head),
      },
    );
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.#peerEnded());
    socket.on('drain', () => this.#regulate());
    socket.on('error', () => this.finish('error'));
    socket.once('close', () => this.#closed());
  }

  /** Looks at the clocks; called about once a second. */
  check(): void {
    const now = this.#host.clock.monotonic();
    if (now >= this.#lingersUntil) return this.destroy();
    if (this.#closeReason !== undefined || this.#socket.isPaused()) return;
    const { frameMsMax, idleMsMax } = this.#options;
    const { openSince } = this.#framer;
    if (openSince !== undefined && now - openSince > frameMsMax) {
      this.#rejected('HL7_FRAME_SLOW', 'slow', 0);
      this.finish('slow');
    } else if (idleMsMax !== undefined && this.#answers.isIdle && now - this.#lastByteAt > idleMsMax) {
      this.finish('idle');
    }
  }

  /** Takes nothing more, answers what was taken, closes. Harmless twice. */
  finish(reason: CloseReason): void {
    if (this.#closeReason !== undefined) return;
    this.#closeReason = reason;
    this.#socket.resume();
    void this.#endWhenAnswered();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #endWhenAnswered(): Promise<void> {
    await this.#answers.idle();
    this.#lingersUntil = this.#host.clock.monotonic() + lingerMs;
    this.#socket.end();
  }

  #read(chunk: Buffer): void {
    if (this.#closeReason !== undefined) return;
    this.#lastByteAt = this.#host.clock.monotonic();
    this.#framer.push(chunk);
    this.#regulate();
  }

  /** Many a simple sender closes its half after the last message and still waits for the answer. */
  #peerEnded(): void {
    if (this.#closeReason === undefined) this.#framer.end();
    this.finish('peer');
  }

  #take(content: Buffer): void {
    const cost = content.length + messageOverheadBytes;
    this.#inFlightBytes += cost;
    const turn = this.#answers.reserve();
    const answered = (text: string) => {
      this.#inFlightBytes -= cost;
      this.#answers.settle(turn, text);
      this.#regulate();
    };
    // Only a bug rejects it, and a bug ends the process: the buffer makes that safe.
    void this.#receiver.receive(content).then(answered);
  }

  #write(text: string): void {
    if (this.#socket.writable) this.#socket.write(text, 'latin1');
    this.#regulate();
  }

  #regulate(): void {
    if (this.#closeReason !== undefined) return;
    const isFull = this.#inFlightBytes > inFlightBytesMax || this.#socket.writableLength > unreadAnswerBytesMax;
    if (isFull === this.#socket.isPaused()) return;
    if (isFull) {
      this.#socket.pause();
    } else {
      // While we did not read, the peer could not have sent its end block, nor a sign of life.
      this.#framer.excuse();
      this.#lastByteAt = this.#host.clock.monotonic();
      this.#socket.resume();
    }
  }

  #problem(problem: FrameProblem, byteCount: number): void {
    this.#rejected('HL7_FRAME_BROKEN', problem, byteCount);
  }

  #fault(fault: FrameFault, head: Buffer): void {
    if (fault === 'too-large') {
      this.#answers.settle(this.#answers.reserve(), this.#receiver.refuse(head, refusals.tooLarge));
    } else {
      this.#rejected('HL7_FRAME_BROKEN', fault, 0);
    }
    this.finish(fault);
  }

  #rejected(code: ErrorCode, word: string, byteCount: number): void {
    this.#host.report({ name: 'record.rejected', source: this.#host.name, code, word, numbers: { bytes: byteCount } });
  }

  #closed(): void {
    this.#closeReason ??= 'error';
    this.#lingersUntil = Number.POSITIVE_INFINITY;
    this.#host.report({ name: 'source.connection-closed', source: this.#host.name, word: this.#closeReason });
  }
}
