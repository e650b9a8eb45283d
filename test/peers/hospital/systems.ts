/**
 * All systems of one hospital under load: an EHR that sends HL7 v2, a standardized storage that grows, a FHIR server
 * that grows, a modality that sends images, and a PACS that is asked for them. What was given to the connector, or lies
 * where it looks, is listed by the digest of its exact bytes.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { dayJst, systemClock } from '../../../agent/base/clock.ts';
import { part10Header } from '../../../agent/source/dicom/part10.ts';
import { type FileParts, Tree, type TreeFile } from '../../source/ssmix2/tree.ts';
import { Archive } from '../dicom/archive.ts';
import { type Instance, instance, seriesUid, studyUid } from '../dicom/dataset.ts';
import { send } from '../dicom/scu.ts';
import { observation, patient } from '../fhir/resources.ts';
import { FhirServer, type StoredResource } from '../fhir/server.ts';
import { source as ehr } from './hospital.ts';
import { type Hl7Message, hl7, person } from './messages.ts';
import { Ration } from './ration.ts';
import { StubbornSender } from './stubborn-sender.ts';

export const origins = ['hl7v2', 'ssmix2', 'fhir', 'modality', 'pacs'] as const;

export interface Given {
  readonly origin: (typeof origins)[number];
  readonly patientId: string;
  /** Hex, of what the producer is to open: for an image the file, which is a fixed header and the data set. */
  readonly sha256: string;
  /** It was made when the patient's stop was in force. */
  readonly isAfterStop: boolean;
  /** In the storage, what its writer did to it later. */
  fate: 'kept' | 'replaced' | 'deleted';
}

export interface SystemsOptions {
  readonly patients: readonly string[];
  readonly random: () => number;
  /** Where the EHR's messages are taken now: it may be another port after a restart. */
  readonly ehrPort: () => number;
}

/** A PACS knows where to send to, and the port stays the same. Below those that systems give away by themselves. */
const fixedPorts = { from: 20_000, count: 10_000 };

/** Between two fillings: what the senders and the growth get through in little more than a second. */
const rations = { messages: 60, images: 40, growth: 40 };

const ehrSenders = 2;
const modalities = 2;
/** Between two instances of one modality, and after one that was not taken. */
const modalityPauseMs = 25;
/** Between two things that come to lie in the storage, and on the FHIR server. */
const growthMs = 30;
/** One in so many messages and images is spooled as a file of its own. */
const spooledEvery = 15;
/** One growth in so many brings the PACS an image, too. */
const imageEvery = 8;
/** One image in so many of a modality's is sent to the PACS, too. */
const copyEvery = 20;
/** So many resources come before the Patient whom they name. */
const patientsAfter = 40;

export class Systems {
  readonly given: Given[] = [];
  /** Patients whose stop is in force. */
  readonly stopped = new Set<string>();
  /** Images that had to be sent again. */
  repeatedImages = 0;
  readonly #options: SystemsOptions;
  readonly #tree = new Tree();
  readonly #fhir: FhirServer;
  readonly #archive: Archive;
  /** Where images are taken. */
  readonly #imagePort: number;
  readonly #ehr: readonly StubbornSender[];
  readonly #latePatients: StoredResource[];
  readonly #files: { readonly file: TreeFile; readonly parts: FileParts; readonly given: Given }[] = [];
  readonly #rations = {
    messages: new Ration(rations.messages),
    images: new Ration(rations.images),
    growth: new Ration(rations.growth),
  };
  #isOver = false;
  #count = 0;

  private constructor(options: SystemsOptions, fhir: FhirServer, archive: Archive, imagePort: number) {
    this.#options = options;
    this.#fhir = fhir;
    this.#archive = archive;
    this.#imagePort = archive.destinationPort = imagePort;
    this.#fhir.answer = () => this.#fhirTime(0);
    this.#ehr = Array.from({ length: ehrSenders }, () => {
      return new StubbornSender({ port: options.ehrPort, next: () => this.#message(), inFlight: 4, pauseMs: 60 });
    });
    this.#latePatients = options.patients.map((number) => patient({ id: fhirId(number), number }));
    // Half of them are there from the beginning.
    for (let index = 0; index < options.patients.length / 2; index++) this.#introduce();
  }

  static async start(options: SystemsOptions): Promise<Systems> {
    const fhir = await FhirServer.start({ types: ['Patient', 'Observation'] });
    return new Systems(options, fhir, await Archive.start([]), await fixedPort(options.random));
  }

  /** As configured; nothing waits for things to settle, and nothing is asked for twice. */
  get sources(): readonly Readonly<Record<string, unknown>>[] {
    const at = '127.0.0.1';
    const whole = { since: '2026-01-01', windowMax: '100y', lag: '0s', overlap: '0s', count: 10 };
    return [
      { name: ehr, kind: 'hl7v2', listen: `${at}:0` },
      { name: 'ssmix', kind: 'ssmix2', roots: [this.#tree.root], stableFor: '0s', filesPerSecond: 100_000 },
      { name: 'fhir', kind: 'fhir', url: this.#fhir.url, types: ['Patient', 'Observation'], ...whole },
      {
        name: 'pacs',
        kind: 'dicom',
        aeTitle: 'KAKEHASHI',
        listen: `${at}:${this.#imagePort}`,
        query: { host: at, port: this.#archive.pacs.port, aeTitle: 'ARCHIVE' },
        daysBack: 1,
        stableFor: '0s',
      },
    ];
  }

  /** Messages that had to be sent again. */
  get repeatedMessages(): number {
    return this.#ehr.reduce((sum, { repeated }) => sum + repeated, 0);
  }

  /** Resolves after `end`, when whatever was made was also acknowledged. */
  async run(): Promise<void> {
    const sending = Array.from({ length: modalities }, (_, series) => this.#sendImages(series + 1));
    await Promise.all([...this.#ehr.map((sender) => sender.run()), ...sending, this.#grow()]);
  }

  /** As much again may come. */
  goOn(): void {
    for (const ration of Object.values(this.#rations)) ration.fill();
  }

  /** Nothing new from now on, and the FHIR server's time is so late that a poll covers all it has. */
  end(): void {
    this.#isOver = true;
    this.goOn();
    while (this.#latePatients.length > 0) this.#introduce();
    this.#fhir.answer = () => this.#fhirTime(10_000);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.goOn();
    await this.#fhir.close();
    await this.#archive.pacs.close();
    this.#tree.remove();
  }

  #fhirTime(aheadMs: number): undefined {
    this.#fhir.now = systemClock.now() + aheadMs;
  }

  #give(origin: Given['origin'], patientId: string, ...bytes: readonly Buffer[]): Given {
    const hash = createHash('sha256');
    for (const each of bytes) hash.update(each);
    const given: Given = {
      origin,
      patientId,
      sha256: hash.digest('hex'),
      isAfterStop: this.stopped.has(patientId),
      fate: 'kept',
    };
    this.given.push(given);
    return given;
  }

  #somebody(): string {
    const { patients, random } = this.#options;
    return patients[Math.floor(random() * patients.length)] as string;
  }

  #isOneIn(count: number): boolean {
    return this.#options.random() < 1 / count;
  }

  async #message(): Promise<Hl7Message | undefined> {
    await this.#rations.messages.take();
    if (this.#isOver) return undefined;
    const patientId = this.#somebody();
    const reportChars = this.#isOneIn(spooledEvery) ? 300_000 : 0;
    const message = hl7({ controlId: `M${++this.#count}`, person: person(patientId), reportChars });
    this.#give('hl7v2', patientId, message.bytes);
    return message;
  }

  /** Repeats each image until the answer is 0x0000, as a modality's queue does. */
  async #sendImages(series: number): Promise<void> {
    for (;;) {
      await this.#rations.images.take();
      if (this.#isOver) return;
      const patientId = this.#somebody();
      const made = this.#image('modality', patientId, series);
      if (this.#isOneIn(copyEvery)) this.#archive.held.push(held(made, patientId, series));
      while (!(await this.#isTaken(made))) {
        this.repeatedImages++;
        await systemClock.sleep(modalityPauseMs);
      }
      await systemClock.sleep(modalityPauseMs);
    }
  }

  async #isTaken(made: Instance): Promise<boolean> {
    try {
      return (await send(this.#imagePort, made)) === '0x0000';
    } catch (error) {
      // Nobody listens there now.
      if (error instanceof Error) return false;
      throw error;
    }
  }

  #image(origin: 'modality' | 'pacs', patientId: string, series: number): Instance {
    const number = ++this.#count;
    const size = this.#isOneIn(spooledEvery) ? 400 : 16;
    const made = instance({ study: Number(patientId), series, number, patientId, size });
    this.#give(origin, patientId, part10Header(made), made.dataSet);
    return made;
  }

  async #grow(): Promise<void> {
    for (let step = 1; ; step++) {
      await this.#rations.growth.take();
      if (this.#isOver) return;
      this.#growTree();
      this.#growFhir();
      if (step % imageEvery === 0) {
        const patientId = this.#somebody();
        this.#archive.held.push(held(this.#image('pacs', patientId, 9), patientId, 9));
      }
      if (step % patientsAfter === 0) this.#introduce();
      await systemClock.sleep(growthMs);
    }
  }

  #growFhir(): void {
    const patientId = this.#somebody();
    const changedAt = systemClock.now();
    const added = observation({ id: `o${++this.#count}`, patient: fhirId(patientId), changedAt });
    this.#fhir.resources.push(added);
    this.#give('fhir', patientId, added.bytes);
  }

  /** The next Patient of the FHIR server. */
  #introduce(): void {
    const late = this.#latePatients.shift();
    if (!late) return;
    this.#fhir.resources.push({ ...late, changedAt: systemClock.now() });
    this.#give('fhir', late.id.slice(1), late.bytes);
  }

  /** Mostly a new order; now and then a new version of one, or the end of one. */
  #growTree(): void {
    const old = this.#isOneIn(5) ? this.#takeFile() : undefined;
    if (old && this.#isOneIn(2)) {
      this.#tree.reflag(old.file, '0');
      old.given.fate = 'deleted';
      return;
    }
    if (old) {
      this.#tree.reflag(old.file, '2');
      old.given.fate = 'replaced';
    }
    const number = ++this.#count;
    const careDate = today();
    const parts = {
      patientId: this.#somebody(),
      careDate,
      orderNumber: String(number).padStart(15, '0'),
      ...old?.parts,
      time: `${careDate}${new Date(number).toISOString().slice(11, 23).replaceAll(/[:.]/g, '')}`,
    };
    const file = this.#tree.put(parts);
    this.#files.push({ file, parts, given: this.#give('ssmix2', parts.patientId, file.bytes) });
  }

  #takeFile() {
    const at = Math.floor(this.#options.random() * this.#files.length);
    return this.#files.splice(at, 1)[0];
  }
}

async function fixedPort(random: () => number): Promise<number> {
  for (;;) {
    const port = fixedPorts.from + Math.floor(random() * fixedPorts.count);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

function fhirId(patientId: string): string {
  return `p${patientId}`;
}

function today(): string {
  return dayJst(systemClock.now()).replaceAll('-', '');
}

function held(image: Instance, patientId: string, series: number) {
  const study = Number(patientId);
  const uids = { studyUid: studyUid(study), seriesUid: seriesUid(study, series) };
  return { instance: image, patientId, ...uids, studyDate: today() };
}
