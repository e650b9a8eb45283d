/**
 * A sender with many messages in flight on one connection, which matches answers by MSA-2 and so notices one that is
 * missing, doubled, or for a message it never sent.
 */
import { block, Parrot } from './parrot.ts';

export interface Answer {
  readonly code: string;
  readonly controlId: string;
}

export class PipeliningSender {
  readonly #parrot: Parrot;

  private constructor(parrot: Parrot) {
    this.#parrot = parrot;
  }

  static async connect(port: number): Promise<PipeliningSender> {
    return new PipeliningSender(await Parrot.connect(port));
  }

  /**
   * Sends all messages at once and resolves with one answer each, in the order of the messages.
   *
   * @throws when an answer names no message in flight
   */
  async send(messages: readonly { readonly controlId: string; readonly bytes: Uint8Array }[]): Promise<Answer[]> {
    const before = this.#parrot.verdicts.length;
    await this.#parrot.say(Buffer.concat(messages.map(({ bytes }) => block(bytes))));
    await this.#parrot.hear(before + messages.length);
    const waiting = new Map(messages.map(({ controlId }) => [controlId, '']));
    for (const verdict of this.#parrot.verdicts.slice(before)) {
      const [code = '', controlId = ''] = verdict.split(' ');
      if (waiting.get(controlId) !== '') throw new Error('an answer names no message in flight');
      waiting.set(controlId, code);
    }
    return [...waiting].map(([controlId, code]) => ({ controlId, code }));
  }

  /** The answers heard so far, in the order they came. */
  get verdicts(): string[] {
    return this.#parrot.verdicts;
  }

  close(): void {
    this.#parrot.destroy();
  }
}
