/**
 * A night of a hospital with 600 beds: everything that has gathered comes in at once and goes out over a poor line,
 * while the wards go on sending. Scaled down, all of it by the same factor but for the line and the rate of messages, so
 * that the time over the line can be multiplied again. Every number that is said says how it was scaled.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { Hospital, neverSchedule } from '../peers/hospital/hospital.ts';
import { contentOf, fileName, folderOf } from '../source/ssmix2/tree.ts';
import { Child } from './child.ts';
import { numberOf, patients } from './fhir-pages.ts';
import { memoryOf } from './machine.ts';
import { median, rounded } from './measure.ts';
import { patientId, template } from './mllp-load.ts';
import { SteadySender } from './steady-sender.ts';

/** What gathers in a day, whole: 100 studies of half a gigabyte, and the text of a thousand patients. */
const whole = { imageBytes: 50e9, files: 40_000, resources: 60_000 } as const;
const sliceBytes = 524_288;

/** 20 Mbit/s by the agent's own timetable, in its unit. */
const line = { bandwidth: '2441K', megabitsPerSecond: 20 } as const;

/** Between two messages of the wards: ten a second is the peak of a day, all night. */
const everyMs = 100;

/** How long is waited before it is shipped again. */
const pauseMs = 250;

const categories = ['demographics', 'lab-result', 'image', 'prescription', 'encounter', 'diagnosis'];

export interface NightLine {
  readonly night: string;
  readonly value: number;
  readonly unit: string;
  readonly scaled: string;
}

/** Fifty gigabytes become half a one; in the quick form a hundredth of that. */
export async function night({ isQuick }: { readonly isQuick: boolean }): Promise<NightLine[]> {
  const factor = isQuick ? 10_000 : 100;
  const scaledDown = {
    slices: Math.ceil(whole.imageBytes / factor / sliceBytes),
    files: Math.ceil(whole.files / factor),
    resources: Math.ceil(whole.resources / factor),
  };
  const since = new Date(systemClock.now() - 86_400_000).toISOString().slice(0, 10);
  const server = Child.start('child-fhir-server.ts', [String(scaledDown.resources), String(Date.parse(since))]);
  const hospital = await Hospital.create({ producer: { bandwidth: line.bandwidth } });
  try {
    const { url } = await server.hear<{ url: string }>();
    await open(hospital, { url, since, root: writeStorage(hospital.folder, scaledDown.files) });
    const felt = await pass(hospital, scaledDown.slices);
    const { peakMb } = await memoryOf(hospital.agent.pid);
    return told(felt, { ...scaledDown, factor, peakMb });
  } finally {
    await hospital.close();
    await server.close();
  }
}

async function open(hospital: Hospital, from: { url: string; since: string; root: string }): Promise<void> {
  const listen = '127.0.0.1:0';
  const { url, since, root } = from;
  const sources = [
    { name: 'ehr-feed', kind: 'hl7v2', listen },
    { name: 'pacs', kind: 'dicom', aeTitle: 'KAKEHASHI', listen },
    { name: 'ssmix', kind: 'ssmix2', roots: [root], stableFor: '0s', schedule: neverSchedule },
    { name: 'fhir', kind: 'fhir', url, since, types: ['Patient', 'Observation'], schedule: neverSchedule },
  ];
  await hospital.startProducer();
  await hospital.restartWith({ producer: { bandwidth: line.bandwidth }, settings: { sources } });
  await hospital.enrol([patientId, ...numbers()], categories);
  await hospital.untilTrusted();
}

function numbers(): string[] {
  return Array.from({ length: patients }, (_, patient) => numberOf(patient));
}

function writeStorage(folder: string, files: number): string {
  const root = join(folder, 'ssmix2');
  for (let n = 0; n < files; n++) {
    const parts = { patientId: numberOf(n % patients), orderNumber: String(n).padStart(15, '0') };
    mkdirSync(join(root, folderOf(parts)), { recursive: true });
    writeFileSync(join(root, folderOf(parts), fileName(parts)), contentOf(parts));
  }
  return root;
}

interface Felt {
  readonly ackMs: readonly number[];
  readonly storeMs: readonly number[];
  readonly takenSeconds: number;
  readonly shippedSeconds: number;
  readonly opened: number;
}

/** Everything comes at once; the wards send until all that has gathered is in the producer's hands, and opened. */
async function pass(hospital: Hospital, slices: number): Promise<Felt> {
  const sender = await SteadySender.connect(hospital.port, template(2000));
  const port = String(hospital.agent.ready.ports?.['pacs'] ?? 0);
  const modality = Child.start('child-series.ts', [port, String(slices), ...numbers().slice(0, 100)]);
  const isOver = new AbortController();
  const startedAt = performance.now();
  const secondsNow = () => (performance.now() - startedAt) / 1000;
  try {
    const sending = sender.keepSending(everyMs, isOver.signal);
    const taking = Promise.all([modality.hear<{ waitsMs: number[] }>(), hospital.ask('pull')]);
    let isTaken = false;
    const taken = taking.then(([{ waitsMs }]) => {
      isTaken = true;
      return { storeMs: waitsMs, takenSeconds: secondsNow() };
    });
    taken.catch(() => undefined);
    const opened = await shipAll(hospital, () => isTaken, isOver);
    const shippedSeconds = secondsNow();
    return { ...(await taken), ackMs: await sending, shippedSeconds, opened };
  } finally {
    isOver.abort();
    sender.close();
    await modality.close();
  }
}

/** The wards fall silent when what had gathered has left; what they have sent meanwhile is shipped behind it. */
async function shipAll(hospital: Hospital, isTaken: () => boolean, isOver: AbortController): Promise<number> {
  for (;;) {
    const wasTaken = isTaken();
    await hospital.ship();
    if (wasTaken) isOver.abort();
    const { deliveries } = await hospital.status();
    const waiting = deliveries.ready + deliveries.packed + deliveries.stored;
    if (wasTaken && waiting === 0) return deliveries.opened;
    await systemClock.sleep(pauseMs);
  }
}

function told(
  { ackMs, storeMs, takenSeconds, shippedSeconds, opened }: Felt,
  {
    slices,
    files,
    resources,
    factor,
    peakMb,
  }: { slices: number; files: number; resources: number; factor: number; peakMb: number },
): NightLine[] {
  const gathered = `${slices} CT slices, ${files} SS-MIX2 files, ${resources} FHIR resources: 1/${factor} of the night`;
  const asItWas = 'not scaled';
  const of = (name: string, waits: readonly number[]): NightLine[] =>
    (['median', 'p99', 'max'] as const).map((word) => ({
      night: `${name}-${word}`,
      value: rounded(percentile(waits, word)),
      unit: 'ms',
      scaled: asItWas,
    }));
  return [
    { night: 'taken', value: rounded(takenSeconds), unit: 's', scaled: gathered },
    { night: 'shipped-and-opened', value: rounded(shippedSeconds), unit: 's', scaled: gathered },
    {
      night: 'shipped-whole',
      value: rounded((shippedSeconds * factor) / 3600),
      unit: 'h',
      scaled: `the line before times ${factor}, at ${line.megabitsPerSecond} Mbit/s; extrapolated, not measured`,
    },
    {
      night: 'line-alone',
      value: rounded((whole.imageBytes * 8) / line.megabitsPerSecond / 1e6 / 3600),
      unit: 'h',
      scaled: `${whole.imageBytes / 1e9} GB over the same line with nothing else; computed`,
    },
    { night: 'records', value: opened, unit: 'opened by the producer', scaled: asItWas },
    ...of('hl7-ack', ackMs),
    ...of('c-store', storeMs),
    { night: 'agent-rss', value: rounded(peakMb), unit: 'MB, peak', scaled: asItWas },
  ];
}

function percentile(values: readonly number[], which: 'median' | 'p99' | 'max'): number {
  if (which === 'median') return median(values);
  const sorted = values.toSorted((a, b) => a - b);
  const at = which === 'max' ? sorted.length - 1 : Math.floor((sorted.length - 1) * 0.99);
  const found = sorted[at];
  if (found === undefined) throw new Error('nobody has waited');
  return found;
}
