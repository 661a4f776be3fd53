-- Translations: rows per locale
SELECT
    locale,
    coalesce(max(number) FILTER (WHERE name = 'property'), 0) AS of_properties,
    coalesce(max(number) FILTER (WHERE name = 'amenity'), 0) AS of_amenities,
    coalesce(max(number) FILTER (WHERE name = 'policy'), 0) AS of_policies
FROM (
    SELECT
        locale,
        'property' AS name,
        count(*) AS number
    FROM public.property_translations
    GROUP BY locale
    UNION ALL
    SELECT
        locale,
        'amenity',
        count(*)
    FROM public.amenity_translations
    GROUP BY locale
    UNION ALL
    SELECT
        locale,
        'policy',
        count(*)
    FROM public.policy_translations
    GROUP BY locale
) AS t
GROUP BY locale
ORDER BY locale;
