/** One caller's place in the queue. */
export interface Turn {
  text: string | undefined;
}

/**
 * Answers of one connection, in the order in which their messages arrived, whenever each becomes ready: many senders
 * match an acknowledgement to a message by position alone. All that becomes ready together (one commit of the
 * buffer) goes out in one write.
 */
export class AnswerQueue {
  readonly #write: (text: string) => void;
  readonly #turns: Turn[] = [];
  #isScheduled = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  reserve(): Turn {
    const turn: Turn = { text: undefined };
    this.#turns.push(turn);
    return turn;
  }

  settle(turn: Turn, text: string): void {
    turn.text = text;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // After the promises that one commit resolves have all run, and before the next turn of the event loop.
    process.nextTick(() => this.#flush());
  }

  get isIdle(): boolean {
    return this.#turns.length === 0;
  }

  /** Resolves when everything reserved so far is written. */
  async idle(): Promise<void> {
    if (this.isIdle) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  #flush(): void {
    this.#isScheduled = false;
    const open = this.#turns.findIndex(({ text }) => text === undefined);
    const ready = this.#turns.splice(0, open < 0 ? this.#turns.length : open);
    const text = ready.map((turn) => turn.text).join('');
    if (text !== '') this.#write(text);
    if (this.isIdle) {
      this.#idle?.resolve();
      this.#idle = undefined;
    }
  }
}
