import type { Source, SourceHost } from '../model/ports.ts';
import type { SourceConfigOf, SourceDefinition } from './define.ts';
import { dicom } from './dicom/index.ts';
import { fhir } from './fhir/index.ts';
import { hl7v2 } from './hl7v2/index.ts';
import { ssmix2 } from './ssmix2/index.ts';

/** Every kind of source there is, one line each. */
export const sourceKinds = [hl7v2, dicom, ssmix2, fhir] as const;

export type SourceConfig = SourceConfigOf<(typeof sourceKinds)[number]>;

/** An idle source from its part of the configuration. */
export function createSource(config: SourceConfig, host: SourceHost): Source {
  const definition: SourceDefinition | undefined = sourceKinds.find(({ kind }) => kind === config.kind);
  if (!definition) throw new TypeError(`no source is of kind ${config.kind}`);
  return definition.create(config, host);
}
