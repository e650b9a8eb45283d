import type { Settings } from '../base/settings.ts';

/** Which sources and producers an operator has paused; kept over restarts. */
export class Pauses {
  readonly #settings: Settings;
  readonly #names: Set<string>;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#names = new Set(JSON.parse(settings.get('paused') ?? '[]') as string[]);
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  add(name: string): void {
    this.#names.add(name);
    this.#save();
  }

  remove(name: string): void {
    this.#names.delete(name);
    this.#save();
  }

  #save(): void {
    this.#settings.set('paused', JSON.stringify([...this.#names]));
  }
}
