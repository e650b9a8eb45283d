import type { Config } from '../config/schema.ts';
import type { Intake, PollOccasion, PollTally, Progress, Source, SourceHost } from '../model/ports.ts';
import type { loadSources } from '../source/registry.ts';

export type SourceConfig = Config['sources'][number];
export type CreateSource = Awaited<ReturnType<typeof loadSources>>;

/** One configured source: made anew whenever it starts, so that pausing leaves nothing of the last run behind. */
export class SourcePart {
  readonly config: SourceConfig;
  readonly #create: () => Source;
  #source: Source;
  #isListening = false;
  /** As bound; kept over a pause, so that a port the system chose stays the same. */
  port: number | undefined;

  constructor(config: SourceConfig, host: SourceHost, create: CreateSource) {
    this.config = config;
    // The configuration is frozen; the registry's types only do not say so.
    this.#create = () => create(config as Parameters<CreateSource>[0], host);
    this.#source = this.#create();
  }

  get name(): string {
    return this.config.name;
  }

  /** Absent while nothing listens. */
  get openPort(): number | undefined {
    return this.#isListening ? this.port : undefined;
  }

  get polls(): boolean {
    return this.#source.poll !== undefined;
  }

  async listen(): Promise<void> {
    if (!this.#source.listen || this.#isListening) return;
    this.port = (await this.#source.listen()).port;
    this.#isListening = true;
  }

  async poll(signal: AbortSignal, progress: Progress, asked: PollOccasion): Promise<PollTally | undefined> {
    return this.#source.poll?.(signal, progress, asked);
  }

  probe() {
    return this.#source.probe();
  }

  /** Harmless twice. A later `listen` begins anew. */
  async stop(): Promise<void> {
    await this.#source.stop();
    this.#isListening = false;
    this.#source = this.#create();
  }
}

/** An intake that also tells when something was taken: what silence is measured against. */
export function watched(intake: Intake, onTaken: () => void): Intake {
  return {
    ...intake,
    accept: async (offer) => {
      const results = await intake.accept(offer);
      if (results.length > 0) onTaken();
      return results;
    },
  };
}
