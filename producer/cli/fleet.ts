import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { openDatabase } from '../../agent/base/database.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { type Hospital, readFleet } from '../fleet/fleet.ts';
import { databaseFile, intakeMigration } from '../intake/schema.ts';
import type { Command } from './command.ts';

const header = [
  'HOSPITAL',
  'CONDITION',
  'SAYS',
  'HEARTBEAT',
  'PARCEL',
  'SEQ',
  'GAPS',
  'WAITING',
  'REJECTED',
  'RETRACTIONS',
];

export const fleet: Command = {
  name: 'fleet',
  summary: 'All hospitals, worst first: who is silent, what they say of themselves, gaps, open retractions.',
  options: { data: { argument: 'DATA', description: 'the data folder of serve; it may be running', isRequired: true } },
  notes: [
    'CONDITION  never-seen       a certificate was issued, and nobody has called',
    '           silent           no heartbeat for 15 minutes',
    '           rejected         the last parcel could not be opened',
    '           stuck            opening a parcel ended the process again and again',
    '           retraction-open  a patient has asked to stop, and what was delivered is not yet taken out',
    '           gap              a parcel number is missing',
    '           otherwise what the agent says of itself',
  ],

  run: async (args, terminal) => {
    const path = join(resolve(args.required('data')), databaseFile);
    if (!existsSync(path)) throw new ConnectorError('PRODUCER_DATA_MISSING', { path: args.required('data') });
    const db = openDatabase(path, [intakeMigration]);
    try {
      const hospitals = readFleet(db, systemClock.now());
      terminal.table(header, hospitals.map(columns));
      terminal.say();
      const well = hospitals.filter(({ condition }) => condition === 'ok').length;
      terminal.say(`Hospitals: ${hospitals.length}, of them well: ${well}.`);
      terminal.result({ hospitals });
    } finally {
      db.close();
    }
  },
};

function columns(hospital: Hospital): string[] {
  const { facility, condition, state = '-', advice } = hospital;
  return [
    facility,
    condition,
    advice.length > 0 ? `${state}: ${advice.slice(0, 2).join(', ')}` : state,
    ageText(hospital.heartbeatAgeMs),
    ageText(hospital.lastParcelAgeMs),
    String(hospital.sequence),
    String(hospital.gaps),
    String(hospital.waiting),
    String(hospital.rejected),
    hospital.openRetractions === 0 ? '0' : `${hospital.openRetractions} (${ageText(hospital.oldestRetractionAgeMs)})`,
  ];
}

const ageSteps = [
  { ms: 86_400_000, unit: 'd' },
  { ms: 3_600_000, unit: 'h' },
  { ms: 60_000, unit: 'min' },
  { ms: 1000, unit: 's' },
] as const;

/** `3 d`, `5 h`, `12 min`: one unit is enough to see what is wrong. */
function ageText(ageMs: number | undefined): string {
  if (ageMs === undefined) return 'never';
  const step = ageSteps.find(({ ms }) => ageMs >= ms * 2) ?? ageSteps[3];
  return `${Math.floor(ageMs / step.ms)} ${step.unit}`;
}
