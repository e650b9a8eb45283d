/**
 * A sender that behaves as an EHR does: it keeps what was not acknowledged, and when the connection is gone it comes
 * back and says it all again, in the same bytes.
 */
import { systemClock } from '../../../agent/base/clock.ts';
import { block, Parrot, verdict } from '../mllp/parrot.ts';
import type { Hl7Message } from './messages.ts';

export interface StubbornOptions {
  /** Where the connector listens now: it may be another port after a restart. */
  readonly port: () => number;
  /** The next message, once there is one, or undefined when there are no more. */
  readonly next: () => Hl7Message | undefined | Promise<Hl7Message | undefined>;
  /** Messages sent before the first of them is answered. */
  readonly inFlight: number;
  /** Between an answer and the next message. */
  readonly pauseMs: number;
}

const reconnectMs = 20;

export class StubbornSender {
  /** What was answered AA, in the order of the answers. */
  readonly acknowledged: Hl7Message[] = [];
  /** Answers that were not AA; each was followed by another attempt. */
  readonly refusals: string[] = [];
  /** Messages that were sent more than once. */
  repeated = 0;
  readonly #options: StubbornOptions;
  readonly #waiting = new Map<string, Hl7Message>();
  #hasMore = true;

  constructor(options: StubbornOptions) {
    this.#options = options;
  }

  /** Resolves when every message there was has been acknowledged. */
  async run(): Promise<void> {
    while (this.#hasMore || this.#waiting.size > 0) {
      const parrot = await Parrot.connect(this.#options.port()).catch(() => undefined);
      if (parrot) {
        await this.#converse(parrot);
        parrot.destroy();
      }
      await systemClock.sleep(reconnectMs);
    }
  }

  /** Until all is said, the connection is gone, or an answer is not AA. */
  async #converse(parrot: Parrot): Promise<void> {
    this.repeated += this.#waiting.size;
    for (const message of this.#waiting.values()) await parrot.say(block(message.bytes));
    for (let heard = 0; ; heard++) {
      await this.#fill(parrot);
      if (this.#waiting.size === 0) return;
      const isHeard = await parrot.hear(heard + 1).then(
        () => true,
        () => false,
      );
      if (!isHeard || !this.#take(verdict(parrot.blocks[heard] ?? ''))) return;
      await systemClock.sleep(this.#options.pauseMs);
    }
  }

  async #fill(parrot: Parrot): Promise<void> {
    while (this.#hasMore && this.#waiting.size < this.#options.inFlight) {
      const message = await this.#options.next();
      this.#hasMore = message !== undefined;
      if (!message) return;
      this.#waiting.set(message.controlId, message);
      await parrot.say(block(message.bytes));
    }
  }

  #take(answer: string): boolean {
    const [code, controlId = ''] = answer.split(' ');
    const message = this.#waiting.get(controlId);
    if (code !== 'AA' || !message) {
      this.refusals.push(code ?? '');
      return false;
    }
    this.#waiting.delete(controlId);
    this.acknowledged.push(message);
    return true;
  }
}
