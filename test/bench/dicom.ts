/**
 * Images by C-STORE: the agent as it runs in a hospital (gate asked, sealed, synced, committed, then answered) beside
 * receivers that write plain files and sync nothing, and beside the least that a receiver of bytes can do.
 */
import { join } from 'node:path';
import { type Environment, Storescp, withoutDelay } from '../peers/dicom/dcmtk.ts';
import { Orthanc } from '../peers/dicom/orthanc.ts';
import { Child } from './child.ts';
import { type Slices, writeSlices } from './dicom-images.ts';
import { inFolder } from './folder.ts';
import { imagesPortOf, openImagingHospital, ourAeTitle } from './imaging-hospital.ts';
import { memoryOf } from './machine.ts';
import { alternately, type Bench, type Measure, type Sample, type Scale } from './measure.ts';
import { patientId } from './mllp-load.ts';
import { type Receiver, sendSlices, settleDisk } from './storescu.ts';

const storescp = 'storescp +B, which neither encrypts nor syncs';

/** Sent before those that count. */
const warmUpCount = { quick: 5, full: 50 } as const;

const ctCount = { quick: 20, full: 500 } as const;

/** Each takes `storescp` 50 ms. */
const delayedCount = { quick: 20, full: 100 } as const;

/** As a modality sends, and as a PACS that forwards. */
const ctBenches = [
  { suffix: '', associations: 1 },
  { suffix: '-4-associations', associations: 4 },
] as const;

const delayed: Measure = {
  name: 'dicom-nagle',
  unit: 'MB/s',
  goal: { of: 'ratio', is: 'at least', value: 10 },
  peerName: 'storescp +B, both programs of DCMTK as they are installed',
};

const rssName = 'dicom-instance-rss';
/** Even, as DICOM demands of every value. */
const instanceBytes = { quick: 100_000_000, full: 2_000_000_000 } as const;

export const dicomBenches: readonly Bench[] = [
  ...ctBenches.map(({ suffix, associations }) => receiving(suffix, associations)),
  {
    measures: [delayed],
    round: (scale) => withStudies(scale, { counts: delayedCount, associations: 1 }, delayedRound),
  },
  pouring('dicom-20x52MB', { quick: { count: 2, bytes: 5e6 }, full: { count: 20, bytes: 52e6 } }),
  pouring('dicom-1.6GB', { quick: { count: 1, bytes: 30e6 }, full: { count: 1, bytes: 1.6e9 } }),
  {
    measures: [{ name: rssName, unit: 'MB, peak', goal: { of: 'ours', is: 'at most', value: 150 } }],
    round: async ({ isQuick }) => ({ [rssName]: await peakOf(instanceBytes[isQuick ? 'quick' : 'full']) }),
  },
];

interface Studies {
  readonly warmUp: Slices;
  readonly counted: Slices;
}

type Samples = Readonly<Record<string, Sample>>;

interface StudiesChoice {
  readonly counts: Readonly<Record<'quick' | 'full', number>>;
  readonly associations: number;
}

function withStudies(
  scale: Scale,
  { counts, associations }: StudiesChoice,
  use: (scale: Scale, studies: Studies) => Promise<Samples>,
): Promise<Samples> {
  const length = scale.isQuick ? 'quick' : 'full';
  return inFolder(async (folder) => {
    const common = { patientId, associations };
    const warmUp = await writeSlices(join(folder, 'warm-up'), { count: warmUpCount[length], study: 1, ...common });
    const counted = await writeSlices(join(folder, 'counted'), { count: counts[length], study: 2, ...common });
    return use(scale, { warmUp, counted });
  });
}

function receiving(suffix: string, associations: number): Bench {
  const [name, orthancName] = [`dicom-500-ct${suffix}`, `dicom-500-ct-orthanc${suffix}`];
  return {
    measures: [
      { name, unit: 'MB/s', goal: { of: 'ratio', is: 'at least', value: 0.6 }, peerName: storescp },
      { name: orthancName, unit: 'MB/s', goal: { of: 'ratio', is: 'at least', value: 2 }, peerName: 'Orthanc' },
    ],
    round: (scale) =>
      withStudies(scale, { counts: ctCount, associations }, async (_, studies) => {
        const { ours, peer } = await alternately(scale, {
          ours: () => toAgent(studies, withoutDelay),
          peer: async () => ({
            storescp: await toStorescp(studies, withoutDelay),
            orthanc: await toOrthanc(studies, withoutDelay),
          }),
        });
        return { [name]: { ours, peer: peer.storescp }, [orthancName]: { ours, peer: peer.orthanc } };
      }),
  };
}

async function delayedRound(scale: Scale, studies: Studies): Promise<Samples> {
  const asInstalled: Environment = {};
  return {
    [delayed.name]: await alternately(scale, {
      ours: () => toAgent(studies, asInstalled),
      peer: () => toStorescp(studies, asInstalled),
    }),
  };
}

async function toAgent(studies: Studies, env: Environment): Promise<number> {
  const hospital = await openImagingHospital([patientId]);
  try {
    const rate = await sendingRate(studies, { port: imagesPortOf(hospital), calledAe: ourAeTitle }, env);
    const { deliveries } = await hospital.status();
    const sent = studies.counted.count + studies.warmUp.count;
    if (deliveries.ready !== sent) throw new Error(`of ${sent} images ${deliveries.ready} are ready to leave`);
    return rate;
  } finally {
    await hospital.close();
  }
}

async function toStorescp(studies: Studies, env: Environment): Promise<number> {
  const receiver = await Storescp.start(env);
  try {
    return await sendingRate(studies, { port: receiver.port, calledAe: 'ANY-SCP' }, env);
  } finally {
    await receiver.close();
  }
}

async function toOrthanc(studies: Studies, env: Environment): Promise<number> {
  const receiver = await Orthanc.start({ destination: { aeTitle: 'NOBODY', port: 9 }, env });
  try {
    return await sendingRate(studies, { port: receiver.port, calledAe: receiver.aeTitle }, env);
  } finally {
    await receiver.close();
  }
}

/** MB/s from the start of the sender, a process of its own, to its end. */
async function sendingRate({ warmUp, counted }: Studies, to: Receiver, env: Environment): Promise<number> {
  await sendSlices(warmUp, to, env);
  await settleDisk();
  const startedAt = performance.now();
  await sendSlices(counted, to, env);
  return counted.bytes / 1e3 / (performance.now() - startedAt);
}

/** By the throughput of `pour`, which is that of the modality: the same sender for both, a process of its own. */
function pouring(name: string, sizes: Readonly<Record<'quick' | 'full', { count: number; bytes: number }>>): Bench {
  const goal = { of: 'ratio', is: 'at least', value: 0.75 } as const;
  return {
    measures: [{ name, unit: 'MB/s', goal, peerName: 'a TCP server that writes what comes to a file' }],
    round: async (scale) => {
      const { count, bytes } = sizes[scale.isQuick ? 'quick' : 'full'];
      const halves = { ours: () => storingRate(count, bytes), peer: () => sinkRate(count * bytes) };
      return { [name]: await alternately(scale, halves) };
    },
  };
}

async function storingRate(count: number, bytes: number): Promise<number> {
  const hospital = await openImagingHospital([patientId]);
  try {
    await settleDisk();
    return (count * bytes) / 1e6 / (await storingSeconds(imagesPortOf(hospital), { count, bytes }));
  } finally {
    await hospital.close();
  }
}

async function storingSeconds(port: number, { count, bytes }: { count: number; bytes: number }): Promise<number> {
  const modality = Child.start('child-modality.ts', [port, patientId, bytes, count].map(String));
  try {
    const { status, seconds } = await modality.hear<{ status: string; seconds: number }>();
    if (status !== '0x0000') throw new Error(`an instance was answered ${status}`);
    return seconds;
  } finally {
    await modality.close();
  }
}

function sinkRate(bytes: number): Promise<number> {
  return inFolder(async (folder) => {
    const sink = Child.start('child-sink.ts', [folder]);
    try {
      const { port } = await sink.hear<{ port: number }>();
      await settleDisk();
      return bytes / 1e6 / (await pouringSeconds(port, bytes));
    } finally {
      await sink.close();
    }
  });
}

async function pouringSeconds(port: number, bytes: number): Promise<number> {
  const sender = Child.start('child-pour.ts', [port, bytes].map(String));
  try {
    return (await sender.hear<{ seconds: number }>()).seconds;
  } finally {
    await sender.close();
  }
}

async function peakOf(bytes: number): Promise<Sample> {
  const hospital = await openImagingHospital([patientId]);
  try {
    await storingSeconds(imagesPortOf(hospital), { count: 1, bytes });
    return { ours: (await memoryOf(hospital.agent.pid)).peakMb };
  } finally {
    await hospital.close();
  }
}
