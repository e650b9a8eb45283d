/** So much and no more until it is filled up again: load that does not grow with the time a slow machine takes. */
export class Ration {
  readonly #size: number;
  #left: number;
  #filled = Promise.withResolvers<void>();

  constructor(size: number) {
    this.#size = size;
    this.#left = size;
  }

  fill(): void {
    this.#left = this.#size;
    this.#filled.resolve();
    this.#filled = Promise.withResolvers();
  }

  /** Resolves when there is one more to be had, and takes it. */
  async take(): Promise<void> {
    while (this.#left === 0) await this.#filled.promise;
    this.#left -= 1;
  }
}
