/**
 * Two FHIR servers of the hospital. One gives resources exactly as they were written, pretty printed, with `1.50` and
 * escapes in them, and learns of one patient a day after that patient's results. The other is Medplum's router.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import type { FiledCategory } from '../../agent/model/category.ts';
import { MedplumServer } from '../peers/fhir/medplum.ts';
import { condition, observation, patient as patientResource } from '../peers/fhir/resources.ts';
import { FhirServer, type StoredResource } from '../peers/fhir/server.ts';
import type { Offered } from './accounting.ts';
import { cast, fateOf, type Patient, patients } from './cast.ts';
import type { Stage } from './stage.ts';

const exactName = 'ehr-fhir';
const medplumName = 'clinic-fhir';

const minuteMs = 60_000;

/** Arrives a day after its own results; until then nobody knows whose they are. */
const latecomer = patients.hoshi;

/** Who is at the other server, too. */
const outpatients = [patients.tsuru, patients.labs, patients.waits, patients.stopped];

type Json = Record<string, unknown>;

export class FhirServers implements Stage {
  readonly kind = 'fhir';
  readonly about = 'a FHIR R4 server that gives every byte as it was written, and @medplum/fhir-router';
  readonly polls = true;
  readonly overrides = [{ key: 'sources[*-fhir].lag', production: '122s', demo: '0s', why: 'nobody writes meanwhile' }];
  readonly #exact: FhirServer;
  readonly #medplum: MedplumServer;
  readonly #offered: Offered[] = [];
  readonly #held: { readonly name: string; readonly bytes: Buffer }[] = [];

  private constructor(exact: FhirServer, medplum: MedplumServer) {
    this.#exact = exact;
    this.#medplum = medplum;
  }

  static async start(): Promise<FhirServers> {
    const exact = await FhirServer.start({ layout: 'pretty', gzip: true }, systemClock.now());
    try {
      return new FhirServers(exact, await MedplumServer.start());
    } catch (error) {
      await exact.close();
      throw error;
    }
  }

  get sources() {
    const common = { kind: 'fhir', lag: '0s' };
    return [
      { name: exactName, url: this.#exact.url, ...common },
      { name: medplumName, url: this.#medplum.url, ...common },
    ];
  }

  get offered(): readonly Offered[] {
    return this.#offered;
  }

  async fill(): Promise<void> {
    const changedAt = systemClock.now() - minuteMs;
    for (const person of cast) {
      if (person !== latecomer) this.#put(person, 'demographics', resourceOf(person, changedAt));
      this.#put(person, 'lab-result', observation({ id: `lab-${person.id}`, patient: `p-${person.id}`, changedAt }));
      this.#put(person, 'diagnosis', condition({ id: `dx-${person.id}`, patient: `p-${person.id}`, changedAt }));
    }
    for (const person of outpatients) await this.#create(person, changedAt);
  }

  /** The Patient that was missing has been written. */
  changeOvernight(): void {
    this.#exact.now = systemClock.now();
    // Dated before what was read already, as a transaction that commits late is: the overlap of two polls finds it.
    this.#put(latecomer, 'demographics', resourceOf(latecomer, systemClock.now() - minuteMs));
  }

  async keep(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    for (const { name, bytes } of this.#held) await writeFile(join(folder, `${name}.json`), bytes);
  }

  async close(): Promise<void> {
    await this.#exact.close();
    await this.#medplum.close();
  }

  #put(person: Patient, category: FiledCategory, resource: StoredResource): void {
    this.#exact.resources.push(resource);
    this.#note(exactName, person, category, resource);
  }

  /** Medplum gives its own ids and writes JSON in its own way: what it has stored is what it serves. */
  async #create(person: Patient, changedAt: number): Promise<void> {
    const store = async (text: Buffer, category: FiledCategory, more: Json = {}) => {
      const { id: _id, meta: _meta, ...resource } = JSON.parse(text.toString()) as Json;
      const created = await this.#medplum.create({ ...resource, ...more });
      const { id } = created;
      this.#note(medplumName, person, category, { type: category, id, bytes: Buffer.from(JSON.stringify(created)) });
      return id;
    };
    const id = await store(resourceOf(person, changedAt).bytes, 'demographics');
    const subject = { reference: `Patient/${id}` };
    await store(observation({ id: 'x' }).bytes, 'lab-result', { subject });
  }

  #note(
    source: string,
    person: Patient,
    category: FiledCategory,
    { type, id, bytes }: Pick<StoredResource, 'type' | 'id' | 'bytes'>,
  ): void {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    this.#held.push({ name: `${source}-${type}-${id}`, bytes });
    this.#offered.push({ kind: 'fhir', source, patientId: person.id, sha256, fate: fateOf(person, category) });
  }
}

function resourceOf(person: Patient, changedAt: number): StoredResource {
  const family = person.kanji.split('^')[0] ?? '';
  const more = `,\n  "contact": [ { "name": { "text": "${family}" } } ]`;
  return patientResource({ id: `p-${person.id}`, number: person.id, changedAt, more });
}
