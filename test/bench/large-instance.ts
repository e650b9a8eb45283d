/**
 * One instance of 2 GB arrives by C-STORE while the EHR goes on sending: neither the memory of the server nor the
 * patience of the EHR may feel it.
 */
import type { Hospital } from '../peers/hospital/hospital.ts';
import { Child } from './child.ts';
import { imagesPortOf, openImagingHospital } from './imaging-hospital.ts';
import { memoryOf } from './machine.ts';
import { type Bench, median, type Sample } from './measure.ts';
import { patientId, template } from './mllp-load.ts';
import { SteadySender } from './steady-sender.ts';

/** Even, as DICOM demands of every value. */
const instanceBytes = { quick: 300_000_000, full: 2_000_000_000 } as const;

/** Messages of the idle baseline. */
const idleCount = { quick: 20, full: 200 } as const;

/** Between an answer and the next message: an EHR of a few hundred beds at its busiest. */
const everyMs = 10;

const rssName = 'dicom-large-instance-rss';
const delayName = 'dicom-large-instance-ack-delay';

export const largeInstance: Bench = {
  measures: [
    { name: rssName, unit: 'MB, peak', goal: { of: 'ours', is: 'at most', value: 250 } },
    { name: delayName, unit: 'ms behind idle, latest', goal: { of: 'ours', is: 'at most', value: 250 } },
  ],
  round: async ({ isQuick }) => {
    const hospital = await openImagingHospital([patientId]);
    try {
      return await arrival(hospital, isQuick ? 'quick' : 'full');
    } finally {
      await hospital.close();
    }
  },
};

async function arrival(hospital: Hospital, size: keyof typeof instanceBytes): Promise<Record<string, Sample>> {
  const sender = await SteadySender.connect(hospital.port, template(2000));
  const idle: number[] = [];
  while (idle.length < idleCount[size]) idle.push(await sender.send());
  const during = await whileStoring(hospital, instanceBytes[size], sender);
  sender.close();
  const { peakMb } = await memoryOf(hospital.agent.pid);
  return {
    [rssName]: { ours: peakMb },
    // The latest one against the usual idle one: that is what a nurse at a terminal would notice.
    [delayName]: { ours: Math.max(...during) - median(idle) },
  };
}

/** How long each message waited that was sent while the instance came, its commit included. */
async function whileStoring(hospital: Hospital, bytes: number, sender: SteadySender): Promise<number[]> {
  const modality = Child.start('child-modality.ts', [String(imagesPortOf(hospital)), patientId, String(bytes)]);
  try {
    const stored = new AbortController();
    const sending = sender.keepSending(everyMs, stored.signal);
    const { status } = await modality.hear<{ status: string }>().finally(() => stored.abort());
    if (status !== '0x0000') throw new Error(`the instance was answered ${status}`);
    return await sending;
  } finally {
    await modality.close();
  }
}
