/** What routing needs to know about one file: from its path, and from the messages in it where these say more. */
import { type FactsOptions, readMessageFacts, type Unreadable } from '../../base/hl7/facts.ts';
import { readHeader } from '../../base/hl7/header.ts';
import { normalizePatientId } from '../../base/patient-id.ts';
import type { Category } from '../../model/category.ts';
import type { PatientName, RecordFacts, RecordOperation } from '../../model/record.ts';
import { type FileName, logicalKey, timeOf, versionKey } from './names.ts';

const route = 'ssmix2-scan';
const mediaType = 'x-application/hl7-v2+er7';

/** Where there is no order, the guideline has fifteen nines. */
const noOrder = /^9+$/;

export function patientOf(id: string, { patientId }: Pick<FactsOptions, 'patientId'>): PatientName {
  return { authority: '', id, normalized: normalizePatientId(id, patientId) };
}

export interface Filed {
  readonly name: FileName;
  readonly op: RecordOperation;
  readonly category: Category;
}

/**
 * Facts of a file whose name and folder agree. The path says whose it is; where the messages in it can be read and
 * say otherwise, it is set aside, for nobody here can know which of the two is right.
 */
export function factsOf(
  bytes: Buffer,
  { name, op, category }: Filed,
  options: FactsOptions,
  unreadable?: Unreadable,
): RecordFacts {
  const patient = patientOf(name.patientId, options);
  const eventAt = timeOf(name.time);
  const filed = {
    nativeKey: logicalKey(name),
    versionKey: versionKey(name),
    op,
    category,
    lane: 'text',
    route,
    mediaType,
    ...(eventAt !== undefined && { eventAt }),
    ...(!noOrder.test(name.orderNumber) && { orderNumber: name.orderNumber }),
  } as const;
  const header = readHeader(bytes, options.encoding === 'auto' ? undefined : options.encoding);
  if (!header) return { ...filed, patients: [patient], quarantine: 'UNREADABLE' };
  const message = readMessageFacts(bytes, header, options, unreadable);
  const charset = message.charset === undefined ? {} : { charset: message.charset };
  const owners = ownersOf(patient, message, options);
  if (owners.quarantine) return { ...filed, ...charset, ...owners };
  const { demographics, aliases } = message;
  return { ...filed, ...charset, ...owners, ...(demographics && { demographics }), ...(aliases && { aliases }) };
}

type Owners = Pick<RecordFacts, 'patients' | 'merge' | 'quarantine'>;

/** The path's patient, unless a message in the file names another: then both, so that a stop of either is honoured. */
function ownersOf(patient: PatientName, message: Owners, options: FactsOptions): Owners {
  const [first] = message.patients;
  // A message without a patient of its own is about the one it is filed under.
  if (message.quarantine === 'NO_PATIENT') return { patients: [patient] };
  if (message.quarantine) return { patients: [patient], quarantine: message.quarantine };
  // The path is in the facility's own numbering, whatever authority the message writes beside the same number.
  if (first && normalizePatientId(first.id, options.patientId) !== patient.normalized) {
    return { patients: [patient, first], quarantine: 'TWO_PATIENTS' };
  }
  if (!message.merge) return { patients: [patient] };
  const { prior } = message.merge;
  return { patients: [patient, prior], merge: { prior, surviving: patient } };
}

/** Facts of a file whose name follows no grammar, or lies in a folder that says otherwise. Its bytes are kept. */
export function badNameFacts(key: string, patients: readonly PatientName[]): RecordFacts {
  return {
    nativeKey: key,
    op: 'INS',
    category: 'unclassified',
    lane: 'text',
    patients,
    route,
    mediaType,
    quarantine: 'BAD_NAME',
  };
}
