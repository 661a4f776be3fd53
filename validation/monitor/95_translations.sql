-- Translations: rows per locale
SELECT
    locale,
    coalesce(max(number) FILTER (WHERE name = 'properties'), 0) AS of_properties,
    coalesce(max(number) FILTER (WHERE name = 'amenities'), 0) AS of_amenities,
    coalesce(max(number) FILTER (WHERE name = 'policies'), 0) AS of_policies
FROM (
    SELECT
        locale,
        'properties' AS name,
        count(*) AS number
    FROM public.property_translations
    GROUP BY locale
    UNION ALL
    SELECT
        locale,
        'amenities',
        count(*)
    FROM public.amenity_translations
    GROUP BY locale
    UNION ALL
    SELECT
        locale,
        'policies',
        count(*)
    FROM public.policy_translations
    GROUP BY locale
) AS t
GROUP BY locale
ORDER BY locale;
