/**
 * HL7 v2 over MLLP: the agent as it runs in a hospital (gate asked, payload encrypted, fsynced, then acknowledged)
 * beside @medplum/hl7 with one insert a message, and beside the least that a commit for each message costs.
 */
import { join } from 'node:path';
import { Hospital } from '../peers/hospital/hospital.ts';
import { Child } from './child.ts';
import { inFolder } from './folder.ts';
import { cpuMsOf } from './machine.ts';
import { alternately, type Bench, type Goal, type Measure, type Sample, type Scale } from './measure.ts';
import { documentTemplate, MllpLoad, patientId, template } from './mllp-load.ts';
import { SteadySender } from './steady-sender.ts';

/** Whom we are measured against: a process that says its port. */
interface Peer {
  readonly name: string;
  readonly file: string;
}

const medplum: Peer = {
  name: '@medplum/hl7, one better-sqlite3 insert a message, WAL, synchronous=FULL',
  file: 'child-medplum.ts',
};

/** The least that a durable answer costs on this disk: nobody who commits before each can be faster. */
const commitLimit: Peer = {
  name: 'a framer, one insert and one commit a message, nothing else',
  file: 'child-commit.ts',
};

/** One receiver, ours or the peer's, running. */
interface Receiver {
  readonly port: number;
  readonly pid: number;
}

interface Flood {
  readonly senders: number;
  readonly inFlight: number;
  readonly bytes: number;
}

interface Flooded {
  readonly perSecond: number;
  readonly cpuMsPerMessage: number;
}

const warmUpMs = { quick: 100, full: 1000 } as const;
const countedMs = { quick: 400, full: 4000 } as const;

export const hl7Benches: readonly Bench[] = [
  flooding([rate('hl7-16-senders-2k', 8), cpu('hl7-cpu-a-message', 0.04)], { senders: 16, inFlight: 1, bytes: 2000 }),
  flooding([rate('hl7-1-sender-32-in-flight', 13)], { senders: 1, inFlight: 32, bytes: 2000 }),
  flooding([rate('hl7-1-sender', 1.3)], { senders: 1, inFlight: 1, bytes: 2000 }),
  flooding(
    [rate('hl7-1-sender-of-commit-limit', 0.95, commitLimit)],
    { senders: 1, inFlight: 1, bytes: 2000 },
    commitLimit,
  ),
  flooding([rate('hl7-16-senders-200k', 15)], { senders: 16, inFlight: 1, bytes: 200_000 }),
  {
    measures: [
      {
        name: 'hl7-20MB-until-ack',
        unit: 's',
        goal: { of: 'ours', is: 'at most', value: 0.5 },
        peerName: medplum.name,
      },
    ],
    round: async (scale) => ({ 'hl7-20MB-until-ack': await largeMessage(scale) }),
  },
];

interface FloodMeasure extends Measure {
  readonly of: keyof Flooded;
}

function rate(name: string, value: number, { name: peerName } = medplum): FloodMeasure {
  return { name, unit: 'messages/s', goal: { of: 'ratio', is: 'at least', value }, peerName, of: 'perSecond' };
}

function cpu(name: string, value: number): FloodMeasure {
  const goal: Goal = { of: 'ours', is: 'at most', value };
  return { name, unit: 'ms of CPU', goal, peerName: medplum.name, of: 'cpuMsPerMessage' };
}

function flooding(measures: readonly FloodMeasure[], flood: Flood, peer = medplum): Bench {
  return {
    measures,
    round: async (scale) => {
      const use = (receiver: Receiver) => flooded(receiver, flood, scale);
      const found = await alternately(scale, { ours: () => withAgent(use), peer: () => withPeer(peer, use) });
      return Object.fromEntries(measures.map(({ name, of }) => [name, { ours: found.ours[of], peer: found.peer[of] }]));
    },
  };
}

async function flooded(receiver: Receiver, { bytes, ...flood }: Flood, { isQuick }: Scale): Promise<Flooded> {
  const length = isQuick ? 'quick' : 'full';
  const load = await MllpLoad.start({ port: receiver.port, template: template(bytes), ...flood });
  try {
    await load.run(warmUpMs[length]);
    const cpuBefore = await cpuMsOf(receiver.pid);
    const { messages, seconds } = await load.run(countedMs[length]);
    const cpuMs = (await cpuMsOf(receiver.pid)) - cpuBefore;
    return { perSecond: messages / seconds, cpuMsPerMessage: cpuMs / messages };
  } finally {
    await load.close();
  }
}

/** Seconds from the first byte of one message until its acknowledgement; quick: a tenth of the size. */
function largeMessage(scale: Scale): Promise<Required<Sample>> {
  const message = documentTemplate(scale.isQuick ? 2e6 : 20e6);
  const until = async ({ port }: Receiver) => {
    const sender = await SteadySender.connect(port, message);
    const waitedMs = await sender.send();
    sender.close();
    return waitedMs / 1000;
  };
  return alternately(scale, { ours: () => withAgent(until), peer: () => withPeer(medplum, until) });
}

/** The whole product: its producer serves, the register covers the patient, nothing is shipped meanwhile. */
async function withAgent<T>(use: (receiver: Receiver) => Promise<T>): Promise<T> {
  const hospital = await Hospital.open([patientId]);
  try {
    return await use({ port: hospital.port, pid: hospital.agent.pid });
  } finally {
    await hospital.close();
  }
}

function withPeer<T>({ file }: Peer, use: (receiver: Receiver) => Promise<T>): Promise<T> {
  return inFolder(async (folder) => {
    const child = Child.start(file, [join(folder, 'messages.sqlite')]);
    try {
      const { port } = await child.hear<{ port: number }>();
      return await use({ port, pid: child.pid });
    } finally {
      await child.close();
    }
  });
}
