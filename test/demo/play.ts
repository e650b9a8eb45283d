/**
 * One run of the demo in one folder: starts what it needs, tells the story, and ends every process it started, whether
 * the story came to its end, failed, or was interrupted.
 */
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { producerName } from '../peers/hospital/hospital.ts';
import type { DemoResult } from './accounting.ts';
import { Demo } from './demo.ts';
import { Pacs } from './dicom.ts';
import { FhirServers } from './fhir.ts';
import { Hl7Feed } from './hl7.ts';
import { Site } from './site.ts';
import { Ssmix2Storage } from './ssmix2.ts';
import type { Stage } from './stage.ts';
import type { Story } from './story.ts';

/** After an interruption, for what was just being started to be there, so that it can be ended as well. */
const settleMs = 10_000;

export interface PlayOptions {
  readonly folder: string;
  readonly story: Story;
  readonly isKept: boolean;
  readonly signal: AbortSignal;
}

export class Play {
  readonly #options: PlayOptions;
  readonly #stages: Stage[] = [];
  #site: Site | undefined;

  constructor(options: PlayOptions) {
    this.#options = options;
  }

  /** @throws what went wrong; the signal's reason when it was interrupted. Nothing runs any more in either case. */
  async run(): Promise<DemoResult> {
    const { signal, isKept } = this.#options;
    const playing = this.#play();
    try {
      return await Promise.race([playing, aborted(signal)]);
    } finally {
      if (isKept && !signal.aborted) await this.#site?.keep();
      await this.#close();
      if (signal.aborted) {
        await Promise.race([playing.catch(() => undefined), systemClock.sleep(settleMs)]);
        await this.#close();
      }
    }
  }

  async #play(): Promise<DemoResult> {
    const { folder, story, signal } = this.#options;
    const startedAt = systemClock.monotonic();
    story.chapter('The hospital', '架橋病院：院内の各システムと、認定事業者の受信サーバー');
    const feed = this.#add(new Hl7Feed());
    const storage = this.#add(new Ssmix2Storage());
    storage.fill();
    const fhir = this.#add(await FhirServers.start());
    await fhir.fill();
    const pacs = this.#add(await Pacs.start(join(folder, 'images')));
    await pacs.fill();
    story.say(`${producerName}: a certified producer that receives, opens and signs receipts.`);
    this.#site = await Site.start(folder, { stages: this.#stages, feed, storage, fhir, pacs, story, signal });
    return new Demo(this.#site, story, startedAt).run();
  }

  /** From now on it is closed, whatever happens. */
  #add<Kind extends Stage>(stage: Kind): Kind {
    this.#stages.push(stage);
    this.#options.story.say(`${stage.kind}: ${stage.about}.`);
    return stage;
  }

  async #close(): Promise<void> {
    await this.#site?.close();
    for (const stage of this.#stages) await stage.close();
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = () => reject(signal.reason as Error);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
