import type { Config } from '../config/schema.ts';
import type { Intake, PollOccasion, PollTally, Progress, Source, SourceHost } from '../model/ports.ts';
import { createSource } from '../source/registry.ts';

export type SourceConfig = Config['sources'][number];

/** One configured source: made anew whenever it starts, so that pausing leaves nothing of the last run behind. */
export class SourcePart {
  readonly config: SourceConfig;
  readonly #host: SourceHost;
  #source: Source;
  #isListening = false;
  /** As bound; kept over a pause, so that a port the system chose stays the same. */
  port: number | undefined;

  constructor(config: SourceConfig, host: SourceHost) {
    this.config = config;
    this.#host = host;
    this.#source = create(config, host);
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
    this.#source = create(this.config, this.#host);
  }
}

function create(config: SourceConfig, host: SourceHost): Source {
  // The configuration is frozen; the registry's types only do not say so.
  return createSource(config as Parameters<typeof createSource>[0], host);
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
