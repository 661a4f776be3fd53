-- How many rows the reference queries run on: those of properties, and the translations of these.
SELECT
    (SELECT count(*) FROM public.properties) AS of_properties,
    (SELECT count(*) FROM public.property_translations) AS of_translations;
